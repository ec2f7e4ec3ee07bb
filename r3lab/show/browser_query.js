// What is wanted of the records of a browser, which of them that are, and how it is written into the page's address.
// Needs no element of the page: `query.select(query.recall("world=badges&looks=1..2&sort=-reward"))` gives their places.
function r3query(index) {
  const total = index.question.length;
  const hay = index.question.map((question, i) =>
    `${question}\n${index.name[i]}\n${index.given[i] ?? ""}\n${index.truth[i] ?? ""}`.toLowerCase(),
  );
  const column = Object.fromEntries([
    ["question", index.question],
    ...index.facets.map((facet) => [facet.key, facet.of.map((v) => facet.values[v])]),
    ...index.ranges.map((range) => [range.key, range.of]),
  ]);
  const collator = new Intl.Collator("en", { numeric: true });
  const empty = () => ({ q: "", facets: {}, ranges: {}, sort: "", at: 0, open: null });

  const orders = new Map(); // each is made once: filtering keeps the order
  const ordered = (sort) => {
    if (!orders.has(sort)) {
      const rows = [...Array(total).keys()];
      const values = column[sort.replace(/^-/, "")];
      const turn = sort.startsWith("-") ? -1 : 1;
      if (values) {
        rows.sort((a, b) => {
          const [x, y] = [values[a], values[b]];
          if (x === null || y === null) return (x === null) - (y === null); // what has no value comes last
          return turn * (typeof x === "number" ? x - y : collator.compare(x, y));
        });
      }
      orders.set(sort, rows);
    }
    return orders.get(sort);
  };

  const select = (state) => {
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const facets = index.facets
      .filter((facet) => facet.key in state.facets)
      .map((facet) => [facet.of, facet.values.indexOf(state.facets[facet.key])]);
    const ranges = index.ranges
      .filter((range) => range.key in state.ranges)
      .map((range) => [range.of, ...state.ranges[range.key]]);
    const fits = (i) =>
      facets.every(([of, wanted]) => of[i] === wanted) &&
      ranges.every(([of, low, high]) => of[i] !== null && of[i] >= low && of[i] <= high) &&
      words.every((word) => hay[i].includes(word));
    return ordered(state.sort).filter(fits);
  };

  const number = (text, otherwise) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : otherwise);

  const written = (state) => {
    const parts = new URLSearchParams();
    if (state.q) parts.set("q", state.q);
    for (const [key, value] of Object.entries(state.facets)) parts.set(key, value);
    for (const [key, ends] of Object.entries(state.ranges)) {
      parts.set(key, ends.map((end) => (Number.isFinite(end) ? end : "")).join(".."));
    }
    if (state.sort) parts.set("sort", state.sort);
    if (state.at >= index.per) parts.set("page", Math.floor(state.at / index.per) + 1);
    if (state.open !== null) parts.set("open", state.open + 1);
    return parts.toString();
  };

  const recall = (text) => {
    const given = new URLSearchParams(text); // what the page does not know is passed over
    const state = empty();
    state.q = given.get("q") ?? "";
    for (const facet of index.facets) {
      if (facet.values.includes(given.get(facet.key))) state.facets[facet.key] = given.get(facet.key);
    }
    for (const range of index.ranges) {
      const [low, high] = [...(given.get(range.key) ?? "").split(".."), ""];
      const ends = [number(low, -Infinity), number(high, Infinity)];
      if (ends.some(Number.isFinite)) state.ranges[range.key] = ends;
    }
    const sort = given.get("sort") ?? "";
    if (Object.hasOwn(column, sort.replace(/^-/, ""))) state.sort = sort;
    state.at = Math.max(0, Math.floor(number(given.get("page") ?? "", 1)) - 1) * index.per;
    const open = number(given.get("open") ?? "", 0);
    state.open = Number.isInteger(open) && open >= 1 && open <= total ? open - 1 : null;
    return state;
  };

  return { column, empty, number, recall, select, written };
}
