"use strict";
// The table of runs: another metric, a filter, and what is known of one run below its row.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const table = document.querySelector("#runs table");
  if (!data.runs || !table) return;
  const make = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children.filter(child => child !== null));
    return made;
  };
  const { metric, metrics, maximized, runs, baselines } = data.runs;
  const valueOf = (key, name) => runs[key]?.metrics[metrics.indexOf(name)] ?? null;
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const column = heads.findIndex(head => head.dataset.metric !== undefined);
  const skills = heads.findIndex(head => head.dataset.skill !== undefined);
  const all = [...body.rows];
  const shown = value => value === null || value === undefined ? ""
    : Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5 || value === 0 ? value.toPrecision(5) : value.toExponential(3);

  const close = () => {
    for (const row of body.querySelectorAll("tr.details")) row.remove();
    for (const button of body.querySelectorAll("button.open")) button.setAttribute("aria-expanded", "false");
  };
  table.tHead.addEventListener("click", close, true); // before the rows are sorted

  // Skill by another metric: the fraction of the best baseline's value by which a run is better.
  const skillOf = (value, name) => {
    const known = baselines.map(each => valueOf(each, name)).filter(each => each !== null);
    if (value === null || !known.length) return null;
    const best = maximized.includes(name) ? Math.max(...known) : Math.min(...known);
    return best === 0 ? null : (maximized.includes(name) ? value - best : best - value) / Math.abs(best);
  };
  const percent = share => share === null ? "" : Math.abs(share) > 10 ? `${share > 0 ? "> +" : "< -"}1000\u00a0%`
    : `${share < 0 ? "-" : "+"}${Math.abs(100 * share).toFixed(1)}\u00a0%`;

  // Another metric.
  const controls = make("div", { class: "controls" });
  if (metrics.length > 1 && column >= 0) {
    const written = all.map(row => [row.cells[column].textContent, row.cells[column].dataset.v]);
    const errors = all.map(row => [row.cells[column + 1].textContent, row.cells[column + 1].dataset.v]);
    const first_skills = skills < 0 ? [] : all.map(row => [row.cells[skills].textContent, row.cells[skills].dataset.v]);
    const select = make("select", { "aria-label": "Metric" }, ...metrics.map(name => make("option", {}, name)));
    select.value = metric;
    select.addEventListener("change", () => {
      close();
      const name = select.value, is_first = name === metric;
      document.dispatchEvent(new CustomEvent("metric", { detail: name }));
      all.forEach((row, place) => {
        const value = valueOf(row.dataset.key, name);
        const cell = row.cells[column], error = row.cells[column + 1];
        [cell.textContent, cell.dataset.v] = is_first ? written[place] : [shown(value), value ?? ""];
        [error.textContent, error.dataset.v] = is_first ? errors[place] : ["", ""];
        if (skills < 0 || baselines.includes(row.dataset.key)) return;
        const share = skillOf(value, name);
        [row.cells[skills].textContent, row.cells[skills].dataset.v] = is_first ? first_skills[place] : [percent(share), share ?? ""];
      });
      const button = heads[column].querySelector("button");
      button.textContent = name;
      heads[column].removeAttribute("aria-sort");
      button.click();
      if (maximized.includes(name)) button.click();
    });
    controls.append(make("label", {}, "Metric ", select));
  }

  // A filter: words that a row has, and `name=value`, `name<value`, `name>value` for columns and metrics.
  const names = heads.map(head => head.textContent.trim());
  const matches = (row, word) => {
    const [, name, sign, wanted] = word.match(/^([^<>=]+)(<=|>=|=|<|>)(.+)$/) ?? [];
    if (name === undefined) return row.textContent.toLowerCase().includes(word.toLowerCase());
    const place = names.indexOf(name);
    const found = String((place >= 0 ? row.cells[place].dataset.v : valueOf(row.dataset.key, name)) ?? "");
    if (found === "") return false;
    if (sign === "=") return found === wanted || Number(found) === Number(wanted);
    const value = Number(found), limit = Number(wanted);
    return { "<": value < limit, ">": value > limit, "<=": value <= limit, ">=": value >= limit }[sign];
  };
  const filter = make("input", { type: "search", "aria-label": "Filter", placeholder: "dim_model=64 val_loss<1.4 finished" });
  const count = make("span", { class: "note", role: "status" });
  filter.addEventListener("input", () => {
    close();
    const words = filter.value.split(/\s+/).filter(Boolean);
    for (const row of all) row.hidden = !words.every(word => matches(row, word));
    const own = all.filter(row => !baselines.includes(row.dataset.key));
    const left = own.filter(row => !row.hidden).length;
    const hidden = new Set(all.filter(row => row.hidden).map(row => row.dataset.key));
    for (const mark of document.querySelectorAll("svg [data-key]")) mark.classList.toggle("off", hidden.has(mark.dataset.key));
    count.textContent = words.length ? `${left} of ${own.length}` : "";
  });
  controls.append(make("label", {}, "Filter ", filter), count);
  table.parentNode.before(controls);

  // What is known of one run.
  const list = (title, pairs) => pairs.length === 0 ? null : make("div", {}, make("h3", {}, title),
    make("dl", {}, ...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])));
  const space = "http://www.w3.org/2000/svg";
  const curve = key => {
    const shown_curves = data.shown ?? data.charts.curves;
    const line = shown_curves?.lines.find(each => each.key === key);
    const values = line?.y.map((value, place) => [place, value]).filter(([, value]) => value !== null) ?? [];
    if (!values.length) return null;
    const low = Math.min(...values.map(([, value]) => value)), high = Math.max(...values.map(([, value]) => value));
    const x = place => 4 + 232 * place / Math.max(line.y.length - 1, 1);
    const y = value => 76 - 72 * (value - low) / (high - low || 1);
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", "0 0 240 80");
    svg.setAttribute("class", "little");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${shown_curves.metric} by epoch, ${shown(low)} to ${shown(high)}`);
    const mark = document.createElementNS(space, values.length === 1 ? "circle" : "path");
    if (values.length === 1) for (const [name, value] of Object.entries({ cx: 120, cy: 40, r: 3.5, class: "dot d-best" }))
      mark.setAttribute(name, value);
    else {
      mark.setAttribute("d", "M" + values.map(([place, value]) => `${x(place).toFixed(1)} ${y(value).toFixed(1)}`).join("L"));
      mark.setAttribute("class", "line k-best");
    }
    svg.append(mark);
    const about = `${shown_curves.metric} ${shown(values[0][1])} to ${shown(values.at(-1)[1])}, best ${
      shown(maximized.includes(shown_curves.metric) ? high : low)}`;
    return make("div", {}, make("h3", {}, "Curve"), svg, make("p", { class: "note" }, about));
  };
  const open = row => {
    const known = runs[row.dataset.key];
    const parts = [
      list("Settings that differ from the best run", known.differs.map(([name, own, best]) => [name, `${own} (best: ${best})`])),
      list("Metrics", metrics.map((name, place) => [name, shown(known.metrics[place])]).filter(([, value]) => value)),
      curve(row.dataset.key),
      list("Files", Object.entries(known.files)),
    ];
    const box = make("div", { class: "details" }, ...parts);
    if (known.error) box.append(make("p", { class: "error" }, known.error));
    if (known.log.length) box.append(make("pre", {}, known.log.join("\n")));
    row.after(make("tr", { class: "details" }, make("td", { colspan: row.cells.length }, box)));
  };
  for (const row of all) {
    if (!runs[row.dataset.key] || baselines.includes(row.dataset.key)) continue;
    const cell = row.cells[1], button = make("button", { type: "button", class: "open", "aria-expanded": "false" });
    button.append(...cell.childNodes);
    button.setAttribute("aria-label", `Run ${cell.dataset.v}: details`);
    cell.append(button);
    row.addEventListener("click", event => {
      if (event.target.closest("button:not(.open), a, code, summary")) return;
      const is_open = button.getAttribute("aria-expanded") === "true";
      close();
      if (is_open) return;
      button.setAttribute("aria-expanded", "true");
      open(row);
    });
  }
})();
