"use strict";
const byId = (id) => document.getElementById(id);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

{
  // Tips: of the mouse on anything with data-tip, of the arrow keys on a chart that has the focus.
  const tip = byId("tip");
  const hide = () => {
    tip.hidden = true;
    all(".at").forEach((one) => one.classList.remove("at"));
  };
  const show = (target) => {
    hide();
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    target.classList.add("at");
    const box = target.getBoundingClientRect();
    const left = box.left + box.width / 2 - tip.offsetWidth / 2;
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = Math.min(Math.max(8, left), innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = (above > 8 ? above : Math.min(box.bottom + 8, innerHeight - tip.offsetHeight - 8)) + "px";
  };
  document.addEventListener("mouseover", (event) => {
    const target = event.target.closest("[data-tip]");
    if (target) show(target);
    else hide();
  });
  document.addEventListener("scroll", hide, { passive: true, capture: true });
  all("svg.chart").forEach((chart) => {
    const marks = all("[data-tip]", chart);
    let at = -1;
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") hide();
      if (!step || !marks.length) return;
      event.preventDefault();
      at = (at + step + marks.length + (at < 0 && step < 0 ? 1 : 0)) % marks.length;
      show(marks[at]);
    });
    chart.addEventListener("blur", hide);
  });
}
