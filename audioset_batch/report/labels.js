{
  // Sorting: numbers from the largest first, names from A; the other way round on the second press.
  const body = byId("label-table").tBodies[0];
  const heads = all("#label-table thead th");
  const rows = [...body.rows];
  heads.forEach((head, column) => {
    const numeric = head.classList.contains("number");
    head.querySelector("button").addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const order = now === "none" ? (numeric ? "descending" : "ascending") : now === "ascending" ? "descending" : "ascending";
      heads.forEach((one) => one.setAttribute("aria-sort", one === head ? order : "none"));
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.v;
      rows.sort((a, b) => sign * (numeric ? key(a) - key(b) : key(a).localeCompare(key(b))));
      body.append(...rows);
    });
  });

  // Search, filter and threshold hold for the list and for the tree.
  const search = byId("search");
  const filter = byId("filter");
  const threshold = byId("threshold");
  const plain = (text) => text.toLowerCase().normalize("NFD").replace(/\p{M}/gu, "");
  const names = new Map(rows.map((row) => [row, plain(row.cells[0].textContent)]));
  const passes = (one, name, words, least) => {
    const ok = Number(one.dataset.ok);
    const planned = Number(one.dataset.planned);
    if (filter.value !== "all" && !(planned > 0)) return false;
    if (filter.value === "under" && ok >= least) return false;
    if (filter.value === "none" && ok > 0) return false;
    return words.every((word) => name.includes(word));
  };
  const mark = (least) => {
    all("[data-ok]").forEach((one) =>
      one.classList.toggle("under", Number(one.dataset.planned) > 0 && Number(one.dataset.ok) < least));
    all(".below[data-oks]").forEach((one) => {
      const counts = one.dataset.oks.split(" ").filter(Boolean).map(Number);
      const few = counts.filter((ok) => ok < least).length;
      one.textContent =
        counts.length + (counts.length === 1 ? " label" : " labels") + (few ? ", " + few + " under the threshold" : "");
    });
  };
  const limit = byId("limit");
  const moveLimit = (least) => {
    const { floor, tall, decades } = limit.dataset;
    const share = least >= 1 ? Math.min((Math.log10(least) + 0.3) / decades, 1.04) : 0;
    limit.setAttribute("transform", "translate(0 " + (floor - tall * share) + ")");
    limit.querySelector("text").textContent = "threshold " + least;
  };
  const prune = (node, words, least, chosen) => {
    // A branch stays while anything in it does, and unfolds while something is searched for.
    const folds = node.matches("details");
    const line = folds ? node.querySelector(":scope > summary") : node;
    const name = plain(line.querySelector(".label > b").textContent);
    let stays = line.dataset.ok === undefined ? chosen === false : passes(line, name, words, least);
    if (folds) {
      const inner = all(":scope > .twigs > *", node).map((child) => prune(child, words, least, chosen));
      const some = inner.some(Boolean);
      if (chosen) node.open = some;
      stays = stays || some;
    }
    node.hidden = !stays;
    return stays;
  };
  const update = () => {
    const words = plain(search.value).split(/\s+/).filter(Boolean);
    const least = Number(threshold.value) || 0;
    mark(least);
    moveLimit(least);
    let shown = 0;
    rows.forEach((row) => {
      const stays = passes(row, names.get(row), words, least);
      row.hidden = !stays;
      shown += stays;
    });
    const chosen = words.length > 0 || filter.value !== "all";
    all("#label-tree > details, #label-tree > .leaf").forEach((node) => prune(node, words, least, chosen));
    byId("shown").textContent = shown === rows.length ? shown + " labels" : shown + " of " + rows.length + " labels";
  };
  [search, filter, threshold].forEach((one) => one.addEventListener("input", update));
  document.querySelector(".controls").addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target === search) {
      search.value = "";
      update();
    }
  });

  // List or tree.
  const choose = (tree) => {
    byId("list").hidden = tree;
    byId("tree").hidden = !tree;
    document.querySelector(".folds").hidden = !tree;
    byId("view-list").setAttribute("aria-pressed", String(!tree));
    byId("view-tree").setAttribute("aria-pressed", String(tree));
  };
  byId("view-list").addEventListener("click", () => choose(false));
  byId("view-tree").addEventListener("click", () => choose(true));
  const foldAll = (open) => all("#label-tree details").forEach((one) => { one.open = open; });
  byId("unfold").addEventListener("click", () => foldAll(true));
  byId("fold").addEventListener("click", () => foldAll(false));
  update();
}
