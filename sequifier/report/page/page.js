"use strict";
(() => {
  const all = (query, root = document) => [...root.querySelectorAll(query)];
  const make = (tag, attributes = {}, text = "") => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.textContent = text;
    return made;
  };
  const data = JSON.parse(document.getElementById("data").textContent);

  // Light, dark, or what the system says.
  const themes = ["auto", "light", "dark"];
  const place = document.querySelector(".top-row");
  if (place) {
    const button = make("button", { class: "theme", type: "button" });
    let theme = "auto";
    const show = () => {
      if (theme === "auto") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = theme;
      button.textContent = { auto: "Colours: system", light: "Colours: light", dark: "Colours: dark" }[theme];
    };
    button.addEventListener("click", () => { theme = themes[(themes.indexOf(theme) + 1) % 3]; show(); });
    show();
    place.append(button);
  }

  // Tables sort by their heads; what cannot be compared stays at the end.
  for (const table of all("table.sortable")) {
    const body = table.tBodies[0], heads = all("thead th", table);
    heads.forEach((head, column) => {
      if (head.dataset.fixed !== undefined) return;
      const button = make("button", { type: "button" });
      button.append(...head.childNodes);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const value = row => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
        const rows = [...body.rows].map(row => {
          const text = value(row), number = text === "" ? NaN : Number(text);
          return { row, text, number };
        });
        rows.sort((a, b) => {
          if (a.text === "" || b.text === "") return (a.text === "") - (b.text === "");
          const order = Number.isNaN(a.number) || Number.isNaN(b.number)
            ? a.text.localeCompare(b.text, "en", { numeric: true }) : a.number - b.number;
          return up ? order : -order;
        });
        body.append(...rows.map(each => each.row));
      });
    });
  }

  // One run is lit wherever it is drawn.
  const marked = new Map();
  for (const element of all("[data-key]")) {
    const key = element.dataset.key;
    if (!marked.has(key)) marked.set(key, []);
    marked.get(key).push(element);
  }
  let lit = null, held = null;
  const light = key => {
    if (key === lit) return;
    for (const element of marked.get(lit) ?? []) element.classList.remove("lit");
    lit = key;
    for (const element of marked.get(lit) ?? []) {
      element.classList.add("lit");
      if (element.tagName === "path") element.parentNode.append(element);
    }
  };
  document.addEventListener("pointerover", event => {
    const element = event.target.closest?.("[data-key]");
    if (element) light(element.dataset.key);
    else if (!event.target.closest?.(".curves")) light(held);
  });
  document.addEventListener("click", event => {
    const element = event.target.closest?.("tr[data-key], .chart [data-key]");
    if (!element || event.target.closest("button, a, code, summary")) return;
    held = held === element.dataset.key ? null : element.dataset.key;
    light(held);
  });

  // What the filter of the runs hides is neither drawn nor read off.
  const isOff = key => marked.get(key)?.some(element => element.classList.contains("off"));

  // Learning curves: the nearest value under the pointer, or walked through with the arrow keys.
  const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-";
  const unpacked = (text, s) => text.match(/../g).map(pair => {
    if (pair === "..") return null;
    const share = (64 * digits.indexOf(pair[0]) + digits.indexOf(pair[1])) / 4095;
    return s.log ? Math.exp(Math.log(s.low) + share * Math.log(s.high / s.low)) : s.low + share * (s.high - s.low);
  });
  for (const figure of all(".curves")) {
    const chart = data.charts[figure.dataset.chart];
    const svg = figure.querySelector("svg"), readout = figure.querySelector(".readout");
    if (!chart || !chart.lines.length) continue;
    const { x } = chart.scales, hint = readout.textContent;
    const first = { metric: chart.metric, lines: chart.lines, scales: chart.scales, precision: 5 };
    let current = first, { y } = first.scales;
    const share = (s, v) => s.log ? (Math.log(v) - Math.log(s.low)) / (Math.log(s.high) - Math.log(s.low))
      : (v - s.low) / (s.high - s.low);
    const at = (s, v) => s.start + share(s, Math.min(Math.max(v, s.low), s.high)) * (s.end - s.start);
    const space = "http://www.w3.org/2000/svg";
    const draw = (tag, attributes, text = "") => {
      const made = document.createElementNS(space, tag);
      for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
      made.textContent = text;
      return made;
    };
    const cursor = draw("line", { class: "cursor", y1: y.start, y2: y.end });
    const dot = draw("circle", { class: "cursor-dot", r: 4.5 });
    const written = value => value === 0 || Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6
      ? String(Number(value.toPrecision(current.precision))) : value.toExponential(2);
    let row = 0, epoch = chart.lines[0].y.length;
    const show = () => {
      const line = current.lines[row], value = line?.y[epoch - 1];
      if (value === null || value === undefined) return;
      cursor.setAttribute("x1", at(x, epoch)); cursor.setAttribute("x2", at(x, epoch));
      dot.setAttribute("cx", at(x, epoch)); dot.setAttribute("cy", at(y, value));
      light(line.key);
      svg.append(cursor, dot);
      const train = line.t && line.t[epoch - 1] != null ? `, training loss ${written(line.t[epoch - 1])}` : "";
      readout.textContent = `${line.name}, epoch ${epoch}: ${current.metric} ${written(value)}${train}`;
    };
    const leave = () => { cursor.remove(); dot.remove(); light(held); readout.textContent = hint; };

    // Another metric, or the other kind of vertical axis: everything that has a height is placed again.
    const button = make("button", { type: "button", class: "plain" });
    const place = () => {
      for (const old of all(".grid, text.tick[text-anchor=end]", svg)) old.remove();
      for (const [up, text] of y.ticks) {
        svg.prepend(draw("line", { class: "grid", x1: x.start, x2: x.end, y1: up, y2: up }));
        svg.append(draw("text", { class: "tick", x: x.start - 8, y: up + 4, "text-anchor": "end" }, text));
      }
      const lines = new Map(current.lines.map(line => [line.key, line]));
      for (const { key } of chart.lines) {
        const line = lines.get(key), marks = all(`[data-key="${key}"]`, svg);
        for (const mark of marks) mark.style.display = line ? "" : "none";
        if (!line) continue;
        const drawn = marks.filter(mark => mark.tagName === "path");
        [line.y, line.t].slice(0, drawn.length).forEach((curve, number) => {
          let pen = "M";
          drawn[number].setAttribute("d", (curve ?? []).map((value, epoch) => {
            if (value === null) { pen = "M"; return ""; }
            const point = `${pen}${at(x, epoch + 1).toFixed(1)} ${at(y, value).toFixed(1)}`;
            pen = "L";
            return point;
          }).join(""));
        });
        const lastOf = curve => curve?.findLast(value => value !== null), last = lastOf(line.y);
        for (const mark of marks) {
          const height = mark.classList.contains("hollow") ? lastOf(line.t) : last; // hollow: the training loss
          if (mark.tagName === "circle") mark.setAttribute("cy", at(y, height));
          if (mark.tagName === "text") mark.dataset.y = at(y, last) + 4;
          const title = mark.querySelector("title");
          if (!title) continue;
          title.dataset.first ??= title.textContent;
          title.textContent = current === first ? title.dataset.first : line.name;
        }
      }
      // Names that would overlap move down, and up again from the bottom of the chart.
      const labels = all("text.label", svg).filter(label => label.dataset.y).sort((a, b) => a.dataset.y - b.dataset.y);
      const heights = labels.map(label => Number(label.dataset.y));
      heights.forEach((height, place) => { heights[place] = Math.max(height, (heights[place - 1] ?? -Infinity) + 14); });
      let lowest = y.start + 4;
      for (let place = heights.length - 1; place >= 0; place -= 1) {
        labels[place].setAttribute("y", Math.min(heights[place], lowest));
        lowest = Math.min(heights[place], lowest) - 14;
      }
      svg.querySelector("text.name[transform]").textContent = `${current.metric}${y.log ? " (log)" : ""}`;
      toggle();
    };
    const toggle = () => {
      button.hidden = !current.scales.other;
      button.textContent = y.log ? "Linear axis" : "Logarithmic axis";
    };
    button.addEventListener("click", () => {
      leave();
      y = y === current.scales.y ? current.scales.other : current.scales.y;
      place();
    });
    readout.after(button);
    toggle();
    document.addEventListener("metric", event => {
      const name = event.detail, other = chart.others?.[name];
      if (!other && name !== first.metric) return; // of a script's metric there is no curve
      leave();
      current = first;
      if (other) {
        const scales = other.scales, lines = chart.lines.filter(line => other.lines[line.key])
          .map(({ key, name }) => ({ key, name, y: unpacked(other.lines[key], scales.y) }));
        current = { metric: name, lines, scales, precision: 3 };
      }
      data.shown = current;
      ({ y } = current.scales);
      row = 0;
      place();
      document.getElementById("curves-metric").textContent = current.metric;
      svg.setAttribute("aria-label", `${current.metric} after each epoch of ${current.lines.length} runs`);
    });

    svg.addEventListener("pointermove", event => {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const wanted = Math.round(x.low + (point.x - x.start) / (x.end - x.start) * (x.high - x.low));
      epoch = Math.min(Math.max(wanted, 1), Math.round(x.high));
      let nearest = Infinity;
      current.lines.forEach((line, index) => {
        const value = line.y[epoch - 1];
        if (value === null || value === undefined || isOff(line.key)) return;
        const distance = Math.abs(at(y, value) - point.y);
        if (distance < nearest) { nearest = distance; row = index; }
      });
      if (nearest < Infinity) show(); else leave();
    });
    svg.addEventListener("pointerleave", leave);
    const walk = figure.querySelector(".plot");
    walk.addEventListener("focus", show);
    walk.addEventListener("blur", leave);
    walk.addEventListener("keydown", event => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!step) return;
      event.preventDefault();
      const { lines } = current;
      let next = row + step[0];
      while (step[0] && lines[next] && isOff(lines[next].key)) next += step[0];
      if (lines[next]) row = next;
      epoch = Math.min(Math.max(epoch + step[1], 1), lines[row].y.length);
      show();
    });
  }

  // Copy buttons, where there is something to copy.
  const copy = async text => {
    try { await navigator.clipboard.writeText(text); return true; } catch { /* not allowed from a file: the old way */ }
    const area = make("textarea", { style: "position:fixed;opacity:0" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  };
  for (const source of all("code.copy, pre.copy")) {
    const name = source.dataset.name ?? "";
    const button = make("button", { class: "copy", type: "button", "aria-label": `Copy ${name}`.trim() }, "Copy");
    source.after(button);
    if (source.closest("td")) source.classList.add("off"); // the button is enough in a narrow column
    else if (source.tagName === "CODE") source.after(" ");
    button.addEventListener("click", async event => {
      event.stopPropagation();
      button.textContent = await copy(source.textContent) ? "Copied" : "Select it";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
})();
