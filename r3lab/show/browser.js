// Pages through the records of a browser that its fields ask for (browser_query.js), and opens one. No library, no
// network; foreign text only ever becomes the text of an element or the value of a field. Markup comes from what Python
// escaped and wrote.
function view(scope, page) {
  const make = (tag, attributes = {}, ...inside) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...inside);
    return made;
  };
  const homes = [...scope.querySelectorAll(".r3-browser:not(.r3-on)")];
  homes.forEach((root, order) => browse(root, page && order === 0)); // the page's hash belongs to the first one
  if (homes.length) for (const still of scope.querySelectorAll(".r3-first")) still.hidden = true;

  function browse(root, hashed) {
    const index = JSON.parse(root.querySelector(".r3-index").textContent);
    const held = new Map([...root.querySelectorAll(".r3-held")].map((one) => [Number(one.dataset.row), one]));
    const total = index.question.length;
    const count = (number) => number.toLocaleString("en");
    const query = r3query(index);
    const { column, number } = query;
    let state = query.empty();
    let found = [];
    const select = () => {
      found = query.select(state);
    };
    const remember = () => {
      const hash = query.written(state);
      if (hashed && hash !== location.hash.slice(1)) history.replaceState(null, "", `#${hash}`);
    };

    // -- filters ---------------------------------------------------------------------------------------------------

    const search = make("input", { type: "search", placeholder: "words of question, answer, name", autocomplete: "off", spellcheck: "false" });
    const fields = make("div", { class: "r3-fields" });
    const selects = new Map();
    const inputs = new Map();
    for (const facet of index.facets) {
      const tally = facet.values.map(() => 0);
      for (const v of facet.of) tally[v] += 1;
      const choice = make("select", { "data-key": facet.key }, make("option", { value: "" }, "any"));
      facet.values.forEach((value, v) => choice.append(make("option", { value: `${v}` }, `${value || "none"} (${count(tally[v])})`)));
      choice.addEventListener("change", () => {
        if (choice.value === "") delete state.facets[facet.key];
        else state.facets[facet.key] = facet.values[Number(choice.value)];
        apply();
      });
      selects.set(facet.key, choice);
      fields.append(make("label", {}, make("span", {}, facet.label), choice));
    }
    for (const range of index.ranges) {
      const ends = ["least", "most"].map((end) =>
        make("input", { type: "number", step: "any", "data-key": range.key, "aria-label": `${range.label}, ${end}`, placeholder: end }),
      );
      for (const end of ends) {
        end.addEventListener("input", () => {
          const wanted = [number(ends[0].value, -Infinity), number(ends[1].value, Infinity)];
          if (wanted.some(Number.isFinite)) state.ranges[range.key] = wanted;
          else delete state.ranges[range.key];
          apply();
        });
      }
      inputs.set(range.key, ends);
      fields.append(make("div", { role: "group", "aria-label": range.label, class: "r3-ends" }, make("span", {}, range.label), ...ends));
    }
    const sort = make("select", { "data-key": "sort" }, make("option", { value: "" }, "as they come"));
    sort.append(make("option", { value: "question" }, "question"));
    for (const facet of index.facets) sort.append(make("option", { value: facet.key }, facet.label.toLowerCase()));
    for (const range of index.ranges) {
      const name = range.label.toLowerCase();
      sort.append(make("option", { value: range.key }, `${name}, least first`), make("option", { value: `-${range.key}` }, `${name}, most first`));
    }
    sort.addEventListener("change", () => {
      state.sort = sort.value;
      apply();
    });
    fields.append(make("label", {}, make("span", {}, "Sorted by"), sort));
    search.addEventListener("input", () => {
      state.q = search.value;
      apply();
    });
    const reset = make("button", { type: "button", class: "r3-reset" }, "Clear");
    reset.addEventListener("click", () => {
      state = query.empty();
      fill();
      apply();
    });
    const summary = make("summary", {}, "Filters");
    const folded = make("details", { class: "r3-filters" }, summary, fields);
    folded.open = root.clientWidth > 700;
    const fill = () => {
      search.value = state.q;
      for (const facet of index.facets) {
        selects.get(facet.key).value = facet.key in state.facets ? `${facet.values.indexOf(state.facets[facet.key])}` : "";
      }
      for (const range of index.ranges) {
        const ends = state.ranges[range.key] ?? [];
        inputs.get(range.key).forEach((end, i) => (end.value = Number.isFinite(ends[i]) ? ends[i] : ""));
      }
      sort.value = state.sort;
    };

    // -- the table -------------------------------------------------------------------------------------------------

    const shown = make("output", { class: "r3-count", "aria-live": "polite" });
    const where = make("span", { class: "r3-where" });
    const back = make("button", { type: "button", "data-turn": "back" }, "Previous page");
    const forward = make("button", { type: "button", "data-turn": "forward" }, "Next page");
    const body = make("tbody", { role: "rowgroup" });
    const pictured = Object.keys(index.thumbs).length > 0;
    const heads = [["#", "number"], ...(pictured ? [["", "r3-small"]] : []), ["question", "r3-asked"]];
    for (const one of index.columns) heads.push([one.label, { number: "number", answer: "r3-reply" }[one.kind] ?? ""]);
    const headings = heads.map(([name, kind]) => make("th", { class: kind, scope: "col", role: "columnheader" }, name));
    const table = make(
      "table",
      { role: "table", "aria-label": "Records" },
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...headings)),
      body,
    );
    const badge = (result) => {
      const [mark, word] = index.results[result];
      return make("span", { class: `r3-result r3-${result}` }, make("b", { "aria-hidden": "true" }, mark), ` ${word}`);
    };
    const cell = (kind, label, ...inside) => make("td", { class: kind, role: "cell", "data-label": label }, ...inside);
    const bidi = (text) => make("bdi", {}, text);
    const answer = (i) => {
      const inside = [index.given[i] === null ? make("i", {}, "no answer") : bidi(index.given[i]), " ", badge(index.result[i])];
      if (index.truth[i] !== null && index.result[i] !== "right") inside.push(make("span", { class: "r3-true" }, "true: ", bidi(index.truth[i])));
      return cell("r3-reply", "answer", ...inside);
    };
    const line = (i, place) => {
      const button = make("button", { type: "button", class: "r3-open", tabindex: place === state.at ? "0" : "-1" }, bidi(index.question[i] || index.name[i] || "no text"));
      const cells = [cell("number", "", `${i + 1}`)];
      if (pictured) {
        const picture = index.thumbs[i] ? [make("img", { alt: "", src: index.thumbs[i], loading: "lazy" })] : [];
        cells.push(cell("r3-small", "", ...picture)); // the question beside it says what it is of
      }
      cells.push(cell("r3-asked", "", button, make("span", { class: "r3-name" }, bidi(index.question[i] ? index.name[i] : ""))));
      for (const one of index.columns) {
        if (one.kind === "answer") cells.push(answer(i));
        else if (one.kind === "number") cells.push(cell("number", one.label, column[one.key][i] === null ? "" : column[one.key][i].toFixed(one.digits)));
        else cells.push(cell("", one.label, bidi(column[one.key][i])));
      }
      return make("tr", { role: "row", "data-row": `${i}`, class: held.has(i) ? "r3-here" : "" }, ...cells);
    };
    const draw = () => {
      const last = Math.max(0, found.length - 1);
      state.at = Math.min(Math.max(state.at, 0), last);
      const start = Math.floor(state.at / index.per) * index.per;
      const rows = found.slice(start, start + index.per).map((i, place) => line(i, start + place));
      body.replaceChildren(...rows);
      const pages = Math.max(1, Math.ceil(found.length / index.per));
      shown.textContent = found.length === total ? `${count(total)} record${total === 1 ? "" : "s"}` : `${count(found.length)} of ${count(total)}`;
      where.textContent = `Page ${count(start / index.per + 1)} of ${count(pages)}`;
      where.hidden = back.hidden = forward.hidden = pages === 1;
      back.disabled = start === 0;
      forward.disabled = start + index.per >= found.length;
      none.hidden = found.length > 0;
      table.hidden = !none.hidden;
      const set = Object.keys(state.facets).length + Object.keys(state.ranges).length;
      summary.textContent = set ? `Filters (${set} set)` : "Filters";
      reset.disabled = !(set || state.q || state.sort);
      remember();
    };
    const apply = () => {
      state.at = 0;
      select();
      draw();
    };
    const none = make("p", { class: "r3-none" }, "No record fits. Clear a filter, or search for fewer words.");
    const go = (place) => {
      if (!found.length) return;
      state.at = Math.min(Math.max(place, 0), found.length - 1);
      const drawn = body.querySelector(`tr[data-row="${found[state.at]}"]`);
      if (drawn) {
        for (const one of body.querySelectorAll(".r3-open")) one.tabIndex = -1;
        remember();
      } else draw();
      const button = body.querySelector(`tr[data-row="${found[state.at]}"] .r3-open`);
      button.tabIndex = 0;
      button.focus({ preventScroll: true });
      button.closest("tr").scrollIntoView({ block: "nearest" });
    };
    const turn = (pages) => {
      state.at = (Math.floor(state.at / index.per) + pages) * index.per;
      draw();
      if (bar.getBoundingClientRect().top < 1) bar.previousElementSibling.scrollIntoView({ block: "end" });
    };
    back.addEventListener("click", () => turn(-1));
    forward.addEventListener("click", () => turn(1));
    body.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const first = Math.floor(state.at / index.per) * index.per;
      const keys = { ArrowDown: state.at + 1, ArrowUp: state.at - 1, Home: first, End: first + index.per - 1 };
      Object.assign(keys, { PageDown: first + index.per, PageUp: first - index.per });
      if (!(event.key in keys)) return;
      go(keys[event.key]);
      event.preventDefault();
      event.stopPropagation();
    });
    search.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" && found.length) {
        go(state.at);
        event.preventDefault();
      }
    });
    body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      const marked = getSelection();
      if (!row || (!event.target.closest("button") && !marked.isCollapsed && row.contains(marked.anchorNode))) return;
      state.at = found.indexOf(Number(row.dataset.row));
      show(Number(row.dataset.row));
    });

    // -- one record ------------------------------------------------------------------------------------------------

    const place = make("output", { "aria-live": "polite" });
    const before = make("button", { type: "button", "data-step": "back" }, "Previous");
    const after = make("button", { type: "button", "data-step": "forward" }, "Next");
    const close = make("button", { type: "button", "data-step": "close" }, "Close");
    const record = make("div", { class: "r3-record" });
    const dialog = make("dialog", { class: "r3-dialog", "aria-label": "Record" }, make("div", { class: "r3-bar" }, before, after, place, close), record);
    const absent = (i) => {
      const said = [make("h2", {}, bidi(index.question[i] || index.name[i])), make("p", {}, answer(i).childNodes.length ? "Answer: " : "", ...answer(i).childNodes)];
      if (i in index.failed) return [...said, make("p", { class: "r3-note" }, "It cannot be opened: ", bidi(index.failed[i]))];
      const way = index.commands[index.file[i]];
      const code = way ? `${way[0]}${index.number[i]}${way[1]}` : `browse(records[${index.number[i] - 1}:${index.number[i]}])`;
      said.push(make("p", {}, `This page holds ${count(held.size)} of its ${count(total)} records, so that it stays small. This one is played by`));
      return [...said, make("p", {}, make("code", {}, bidi(code)))];
    };
    const show = (i) => {
      state.open = i;
      const at = found.indexOf(i);
      place.textContent = `# ${count(i + 1)}${at < 0 ? "" : ` · ${count(at + 1)} of ${count(found.length)}`}`;
      before.disabled = at <= 0;
      after.disabled = at < 0 || at === found.length - 1;
      if (held.has(i)) {
        record.innerHTML = JSON.parse(held.get(i).textContent); // written and escaped by Python
        r3lab(record, false);
      } else record.replaceChildren(...absent(i));
      if (!dialog.open) {
        dialog.showModal();
        (record.querySelector(".r3-player") ?? close).focus();
      }
      dialog.scrollTop = 0;
      remember();
    };
    const step = (by) => {
      state.at = found.indexOf(state.open) + by;
      draw();
      show(found[state.at]);
    };
    before.addEventListener("click", () => step(-1));
    after.addEventListener("click", () => step(1));
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close(); // the ground beside it
    });
    dialog.addEventListener("close", () => {
      state.open = null;
      record.replaceChildren();
      remember();
      go(state.at);
    });

    // -- all of it -------------------------------------------------------------------------------------------------

    const bar = make("div", { class: "r3-bar r3-pages" }, shown, where, back, forward);
    const asked = make("div", { class: "r3-ask" }, make("label", {}, make("span", {}, "Search"), search), reset);
    root.append(asked, folded, bar, make("div", { class: "r3-scroll" }, table), none, dialog);
    root.classList.add("r3-on");
    const start = () => {
      state = query.recall(hashed ? location.hash.slice(1) : "");
      const wanted = [state.at, state.open];
      fill();
      select();
      state.at = wanted[1] !== null && found.includes(wanted[1]) ? found.indexOf(wanted[1]) : wanted[0];
      draw();
      if (wanted[1] !== null) show(wanted[1]);
      else if (dialog.open) dialog.close();
    };
    start();
    if (hashed) {
      addEventListener("hashchange", () => {
        if (location.hash.slice(1) !== query.written(state)) start();
      });
    }
  }
}
