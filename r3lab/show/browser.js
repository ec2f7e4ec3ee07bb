// Pages through the records of a browser that its form asks for, and opens one. The form is the state: what stands in it
// is what is shown and what the page's address says. No library, no network; foreign text only ever becomes the text of
// an element or the value of a field. Markup comes from what Python escaped and wrote, or holds no foreign text.
function view(scope, page) {
  const make = (tag, attributes = {}, ...inside) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...inside);
    return made;
  };
  const bidi = (text) => make("bdi", {}, text);
  const count = (number) => number.toLocaleString("en");
  const homes = [...scope.querySelectorAll(".r3-browser:not(.r3-on)")];
  homes.forEach((root, order) => browse(root, page && order === 0)); // the page's hash belongs to the first one
  if (homes.length) for (const still of scope.querySelectorAll(".r3-first")) still.hidden = true;

  function browse(root, hashed) {
    const index = JSON.parse(root.querySelector(".r3-index").textContent);
    const held = new Map([...root.querySelectorAll(".r3-held")].map((one) => [Number(one.dataset.row), one]));
    const { columns: data, results, files } = index;
    const total = data.question.length;
    root.insertAdjacentHTML("beforeend", `
      <form>
        <div class="r3-ask">
          <label><span>Search</span><input type="search" name="q" placeholder="words of question, answer, name"
            autocomplete="off" spellcheck="false"></label>
          <button type="reset" class="r3-reset">Clear</button>
        </div>
        <details class="r3-filters"><summary>Filters</summary><div class="r3-fields"></div></details>
      </form>
      <div class="r3-bar r3-pages"><output class="r3-count" aria-live="polite"></output><span class="r3-where"></span>
        <button type="button" data-turn="-1">Previous page</button><button type="button" data-turn="1">Next page</button>
      </div>
      <div class="r3-scroll"><table role="table" aria-label="Records"><thead role="rowgroup"></thead>
        <tbody role="rowgroup"></tbody></table></div>
      <p class="r3-none">No record fits. Clear a filter, or search for fewer words.</p>
      <dialog class="r3-dialog" aria-label="Record"><div class="r3-bar">
        <button type="button" data-step="-1">Previous</button><button type="button" data-step="1">Next</button>
        <output aria-live="polite"></output><button type="button" data-step="0">Close</button>
      </div><div class="r3-record"></div></dialog>`);
    root.classList.add("r3-on");
    const find = (selector) => root.querySelector(selector);
    const [form, body, dialog, record] = ["form", "tbody", "dialog", ".r3-record"].map(find);
    const search = form.elements.q;

    // -- filters: of what the records hold, that which tells them apart ----------------------------------------------

    const facets = [];
    const facet = (key, label, of) => {
      const names = data.question.map((_, i) => of(i) || "none");
      const values = [...new Set(names)].sort();
      if (values.length < 2 || values.length > 200) return;
      const place = new Map(values.map((value, v) => [value, v]));
      facets.push({ key, label, values, of: names.map((name) => place.get(name)) });
    };
    facet("kind", "Kind", (i) => data.kind[i]);
    facet("file", "From", (i) => files[data.file[i]][0]);
    facet("world", "World", (i) => data.world[i]);
    facet("split", "Split", (i) => data.split[i]);
    facet("arm", "Arm", (i) => data.arm[i]);
    facet("result", "Result", (i) => results[data.result[i]][1]);
    facet("needs_look", "Needs a look", (i) => ({ true: "yes", false: "no", null: "not known" })[data.needs_look[i]]);
    facet("held", "Opens here", (i) => (held.has(i) ? "yes" : "no"));
    const NUMBERS = [["looks", "Looks", 0], ["reward", "Reward", 2], ["score", "Score", 2], ["iou", "IoU", 2]];
    const ranges = NUMBERS.map(([key, label, digits]) => ({ key, label, digits, of: data[key] })).filter(({ key, of }) => {
      const told = [...new Set(of)].filter((value) => value !== null);
      return told.length > 1 && !(key === "score" && told.every((value) => value === 0 || value === 1)); // as the result says
    });
    const columns = [
      ...facets.filter(({ key }) => key === "world" || key === "arm").map(({ key, label }) => ({ key, label, kind: "" })),
      { key: "result", label: "Answer", kind: "r3-reply" },
      ...ranges.map(({ key, label, digits }) => ({ key, label, kind: "number", digits })),
    ];

    // -- what is asked for -----------------------------------------------------------------------------------------

    const fields = find(".r3-fields");
    const choice = (name, label, options) => {
      const field = make("select", { name }, ...options.map(([value, text]) => make("option", { value }, text)));
      fields.append(make("label", {}, make("span", {}, label), field));
    };
    for (const { key, label, values, of } of facets) {
      const tally = values.map(() => 0);
      for (const v of of) tally[v] += 1;
      choice(key, label, [["", "any"], ...values.map((value, v) => [value, `${value} (${count(tally[v])})`])]);
    }
    for (const { key, label } of ranges) {
      const ends = ["least", "most"].map((end) =>
        make("input", { type: "number", step: "any", name: `${key}-${end}`, "aria-label": `${label}, ${end}`, placeholder: end }),
      );
      fields.append(make("div", { role: "group", "aria-label": label, class: "r3-ends" }, make("span", {}, label), ...ends));
    }
    choice("sort", "Sorted by", [
      ["", "as they come"],
      ["question", "question"],
      ...facets.map(({ key, label }) => [key, label.toLowerCase()]),
      ...ranges.flatMap(({ key, label }) => [[key, `${label.toLowerCase()}, least first`], [`-${key}`, `${label.toLowerCase()}, most first`]]),
    ]);
    find(".r3-filters").open = root.clientWidth > 700;

    const hay = data.question.map((text, i) => [text, data.name[i], data.given[i], data.truth[i]].join("\n").toLowerCase());
    const column = new Map([
      ["question", data.question],
      ...facets.map(({ key, values, of }) => [key, of.map((v) => values[v])]),
      ...ranges.map(({ key, of }) => [key, of]),
    ]);
    const collator = new Intl.Collator("en", { numeric: true });
    const sorted = (rows, sort) => {
      const [values, turn] = [column.get(sort.replace(/^-/, "")), sort.startsWith("-") ? -1 : 1];
      if (!values) return rows;
      return rows.sort((a, b) => {
        const [x, y] = [values[a], values[b]];
        if (x === null || y === null) return (x === null) - (y === null); // what has no value comes last
        return turn * (typeof x === "number" ? x - y : collator.compare(x, y));
      });
    };

    let [found, at, open] = [[], 0, null]; // places of the records that fit; the one among them that is marked; one shown
    const asked = () => [...new FormData(form)].filter(([, value]) => value !== "");
    const select = () => {
      const wanted = new Map(asked());
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const tests = words.map((word) => (i) => hay[i].includes(word));
      for (const { key, values, of } of facets) {
        const value = values.indexOf(wanted.get(key));
        if (wanted.has(key)) tests.push((i) => of[i] === value);
      }
      for (const { key, of } of ranges) {
        if (wanted.has(`${key}-least`)) tests.push((i) => of[i] !== null && of[i] >= Number(wanted.get(`${key}-least`)));
        if (wanted.has(`${key}-most`)) tests.push((i) => of[i] !== null && of[i] <= Number(wanted.get(`${key}-most`)));
      }
      found = sorted([...data.question.keys()].filter((i) => tests.every((fits) => fits(i))), wanted.get("sort") ?? "");
      at = 0;
    };
    const written = () => {
      const parts = new URLSearchParams(asked());
      if (at >= index.per) parts.set("page", Math.floor(at / index.per) + 1);
      if (open !== null) parts.set("open", open + 1);
      return parts.toString();
    };
    const remember = () => {
      if (hashed && written() !== location.hash.slice(1)) history.replaceState(null, "", `#${written()}`);
    };
    const recall = () => {
      const given = new URLSearchParams(hashed ? location.hash.slice(1) : ""); // what the page does not know is passed over
      for (const field of form.querySelectorAll("[name]")) {
        const value = given.get(field.name) ?? "";
        field.value = field.type === "number" && !/^-?\d+(\.\d+)?$/.test(value) ? "" : value;
        if (field.selectedIndex === -1) field.value = "";
      }
      select();
      const wanted = Number(given.get("open")) - 1;
      open = data.question[wanted] === undefined ? null : wanted;
      at = found.includes(open) ? found.indexOf(open) : (Math.max(1, Math.floor(given.get("page")) || 1) - 1) * index.per;
      draw();
      if (open !== null) show(open);
      else if (dialog.open) dialog.close();
    };

    // -- the table -------------------------------------------------------------------------------------------------

    const pictured = Object.keys(index.thumbs).length > 0;
    const cells = [["#", "number"], ...(pictured ? [["", "r3-small"]] : []), ["Question", "r3-asked"]];
    cells.push(...columns.map(({ label, kind }) => [label, kind]));
    const heads = cells.map(([label, kind]) => make("th", { class: kind, scope: "col", role: "columnheader" }, label));
    find("thead").append(make("tr", { role: "row" }, ...heads));

    const answer = (i) => {
      const [mark, word] = results[data.result[i]];
      const badge = make("span", { class: `r3-result r3-${data.result[i]}` }, make("b", { "aria-hidden": "true" }, mark), ` ${word}`);
      const inside = [data.given[i] === null ? make("i", {}, "no answer") : bidi(data.given[i]), " ", badge];
      if (data.truth[i] !== null && data.result[i] !== "right") inside.push(make("span", { class: "r3-true" }, "true: ", bidi(data.truth[i])));
      return inside;
    };
    const line = (i, place) => {
      const button = make("button", { type: "button", class: "r3-open", tabindex: place === at ? "0" : "-1" }, bidi(data.question[i] || data.name[i] || "no text"));
      const name = make("span", { class: "r3-name" }, bidi(data.question[i] ? data.name[i] : ""));
      const parts = [["number", "", `${i + 1}`], ["r3-asked", "", button, name]];
      const thumb = index.thumbs[i] ? [make("img", { alt: "", src: index.thumbs[i], loading: "lazy" })] : [];
      if (pictured) parts.splice(1, 0, ["r3-small", "", ...thumb]); // the question beside it says what it is of
      for (const { key, label, kind, digits } of columns) {
        const value = key === "result" ? "" : column.get(key)[i];
        if (key === "result") parts.push([kind, label, ...answer(i)]);
        else parts.push([kind, label, ...(value === null ? [] : [bidi(kind ? value.toFixed(digits) : value)])]);
      }
      const row = parts.map(([kind, label, ...inside]) => make("td", { class: kind, role: "cell", "data-label": label }, ...inside));
      return make("tr", { role: "row", "data-row": i, class: held.has(i) ? "r3-here" : "" }, ...row);
    };
    const [back, forward] = root.querySelectorAll("[data-turn]");
    const draw = () => {
      at = Math.min(Math.max(at, 0), Math.max(0, found.length - 1));
      const start = at - (at % index.per);
      const pages = Math.max(1, Math.ceil(found.length / index.per));
      body.replaceChildren(...found.slice(start, start + index.per).map((i, place) => line(i, start + place)));
      find(".r3-count").textContent = found.length === total ? `${count(total)} record${total === 1 ? "" : "s"}` : `${count(found.length)} of ${count(total)}`;
      find(".r3-where").textContent = `Page ${count(start / index.per + 1)} of ${count(pages)}`;
      for (const part of [find(".r3-where"), back, forward]) part.hidden = pages === 1;
      back.disabled = start === 0;
      forward.disabled = start + index.per >= found.length;
      find("table").hidden = !found.length;
      find(".r3-none").hidden = found.length > 0;
      const set = asked().filter(([name]) => name !== "q" && name !== "sort").length;
      find("summary").textContent = set ? `Filters (${set} set)` : "Filters";
      find(".r3-reset").disabled = !asked().length;
      remember();
    };
    const apply = () => {
      select();
      draw();
    };
    form.addEventListener("input", apply);
    form.addEventListener("reset", () => setTimeout(apply)); // the fields are empty after the event
    form.addEventListener("submit", (event) => event.preventDefault());
    const go = (place) => {
      if (!found.length) return;
      const before = body.querySelector("[tabindex='0']");
      at = Math.min(Math.max(place, 0), found.length - 1);
      const marked = () => body.querySelector(`tr[data-row="${found[at]}"] .r3-open`);
      if (!marked()) draw();
      if (before) before.tabIndex = -1;
      marked().tabIndex = 0;
      marked().focus({ preventScroll: true });
      marked().closest("tr").scrollIntoView({ block: "nearest" });
      remember();
    };
    for (const button of [back, forward]) {
      button.addEventListener("click", () => {
        at = at - (at % index.per) + Number(button.dataset.turn) * index.per;
        draw();
        if (find(".r3-pages").getBoundingClientRect().top < 1) form.scrollIntoView({ block: "end" });
      });
    }
    root.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const start = at - (at % index.per);
      const keys = { ArrowDown: at + 1, ArrowUp: at - 1, Home: start, End: start + index.per - 1 };
      Object.assign(keys, { PageDown: start + index.per, PageUp: start - index.per });
      if (event.target === search && event.key === "ArrowDown") go(at);
      else if (body.contains(event.target) && event.key in keys) go(keys[event.key]);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      const marked = getSelection();
      if (!row || (!event.target.closest("button") && !marked.isCollapsed && row.contains(marked.anchorNode))) return;
      at = found.indexOf(Number(row.dataset.row));
      show(Number(row.dataset.row));
    });

    // -- one record ------------------------------------------------------------------------------------------------

    const [before, after, close] = dialog.querySelectorAll("[data-step]");
    const absent = (i) => {
      const said = [make("h2", {}, bidi(data.question[i] || data.name[i])), make("p", {}, "Answer: ", ...answer(i))];
      if (i in index.failed) return [...said, make("p", { class: "r3-note" }, "It cannot be opened: ", bidi(index.failed[i]))];
      const [way, number] = [files[data.file[i]][1], data.number[i]];
      const code = way ? `${way}${number}` : `browse(records[${number - 1}:${number}])`;
      said.push(make("p", {}, `This page holds ${count(held.size)} of its ${count(total)} records, so that it stays small. This one is played by`));
      return [...said, make("p", {}, make("code", {}, bidi(code)))];
    };
    const show = (i) => {
      open = i;
      const place = found.indexOf(i);
      dialog.querySelector("output").textContent = `# ${count(i + 1)}${place < 0 ? "" : ` · ${count(place + 1)} of ${count(found.length)}`}`;
      before.disabled = place <= 0;
      after.disabled = place < 0 || place === found.length - 1;
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
    for (const button of [before, after]) {
      button.addEventListener("click", () => {
        at = found.indexOf(open) + Number(button.dataset.step);
        draw();
        show(found[at]);
      });
    }
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target === close) dialog.close(); // the ground beside it
    });
    dialog.addEventListener("close", () => {
      open = null;
      record.replaceChildren();
      go(at);
      remember();
    });
    recall();
    if (hashed) addEventListener("hashchange", () => location.hash.slice(1) !== written() && recall());
  }
}
