
"use strict";
// A page that was written as a file has all answers in itself; a served one asks for them.
const embedded = document.getElementById("answers");
const answers = embedded && JSON.parse(embedded.textContent);
const main = document.querySelector("main");
let overview;

async function ask(question, parameters = []) {
  if (answers) {
    if (question === "overview") return answers.overview;
    const key = parameters[0][1];
    if (question === "users") return {users: overview.users.filter(user => user.toLowerCase().includes(key.toLowerCase()))};
    if (!Object.hasOwn(answers[question] ?? {}, key)) throw new Error(`This page has no ${question} ${key}.`);
    return answers[question][key];
  }
  let response;
  try {
    response = await fetch(`api/${question}?${new URLSearchParams(parameters)}`);
  } catch {
    throw new Error("The explorer does not answer: is its command still running?");
  }
  const isJSON = response.headers.get("Content-Type")?.startsWith("application/json");
  if (!isJSON) throw new Error(`The explorer refused: ${response.status} ${response.statusText}`);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

// Elements. All text goes in as text nodes and attributes, so none of it can become markup.

function make(namespace, name, attributes, children) {
  const element = document.createElementNS(namespace, name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(attribute, value);
    else if (value === true) element.setAttribute(attribute, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(attribute, value);
  }
  element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined));
  return element;
}

const h = (name, attributes = {}, ...children) => make("http://www.w3.org/1999/xhtml", name, attributes, children);
const s = (name, attributes = {}, ...children) => make("http://www.w3.org/2000/svg", name, attributes, children);
const number = value => value.toLocaleString("en");
const signed = value => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
const itemsHash = tokens => `#items/${tokens.map(encodeURIComponent).join(",")}`;
const segmentLink = place => h("a", {href: `#segment/${place}`}, overview.segments[place].name);
const dimensionLink = place => h("a", {href: `#dimension/${place}`}, `dimension ${place}`);

// An item leads to what is recommended for it alone, unless the page is a file, which does not know that.
const itemLink = item => (answers ? h("span", {}, item.label) : h("a", {href: itemsHash([item.token])}, item.label));

function bars(rows, digits = value => value.toFixed(3)) {
  const largest = Math.max(...rows.map(row => Math.abs(row.value)), 1e-12);
  return h("table", {class: "bars"}, h("tbody", {}, rows.map(row => {
    const bar = h("span", {class: row.value < 0 ? "bar negative" : "bar"});
    bar.style.width = `${100 * Math.abs(row.value) / largest}%`;
    return h("tr", {}, h("td", {}, row.name), h("td", {}, row.isSum ? null : bar), h("td", {}, digits(row.value)));
  })));
}

let comboboxes = 0;

// A text field with completion: complete(text) gives what there is, as {text, value}, and choose(value) takes one.
function combobox(label, placeholder, complete, choose) {
  const id = `combobox-${++comboboxes}`;
  let options = [], active = -1, turn = 0, timer;
  const list = h("ul", {id: `${id}-list`, role: "listbox", "aria-label": label, hidden: true});
  const input = h("input", {
    id, placeholder, role: "combobox", type: "text", autocomplete: "off", spellcheck: "false",
    "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id,
    input: () => { clearTimeout(timer); timer = setTimeout(offer, 100); },
    focus: () => offer(),
    blur: () => close(),
    keydown: event => {
      if (event.key === "Escape") return close();
      if (list.hidden || !options.length) return;
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        mark((active + (event.key === "ArrowDown" ? 1 : -1) + options.length) % options.length);
      } else if (event.key === "Enter") {
        event.preventDefault();
        take(Math.max(active, 0));
      }
    },
  });
  function close() {
    clearTimeout(timer);
    turn++;
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }
  function mark(place) {
    active = place;
    [...list.children].forEach((option, other) => option.setAttribute("aria-selected", other === place));
    list.children[place].scrollIntoView({block: "nearest"});
    input.setAttribute("aria-activedescendant", list.children[place].id);
  }
  function take(place) {
    input.value = "";
    close();
    choose(options[place].value);
  }
  async function offer() {
    const mine = ++turn;
    let found;
    try { found = await complete(input.value); } catch (error) { found = []; }
    if (mine !== turn) return;
    options = found;
    active = -1;
    list.replaceChildren(...options.map((option, place) => h("li", {
      id: `${id}-${place}`, role: "option", "aria-selected": "false",
      mousedown: event => { event.preventDefault(); take(place); },
    }, option.text)));
    if (!options.length) list.append(h("li", {class: "faint"}, "Nothing found"));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
  }
  return h("div", {class: "combobox"}, h("label", {for: id}, label), input, list);
}

// A plot that is drawn for the width that there is, and anew when that changes.
function plot(draw) {
  const place = h("div", {});
  let drawn = 0;
  new ResizeObserver(() => {
    const width = Math.floor(place.clientWidth);
    if (width && width !== drawn) {
      drawn = width;
      place.replaceChildren(draw(width));
    }
  }).observe(place);
  return place;
}

// Users

function choices(items) {
  const user = combobox("Choose a user", "User",
    async text => (await ask("users", [["text", text]])).users.map(token => ({text: token, value: token})),
    token => { location.hash = `#user/${encodeURIComponent(token)}`; });
  if (answers) return h("div", {class: "choices"}, user);
  const item = combobox(items.length ? "Add an item" : "… or type in items", "Item",
    async text => (await ask("items", [["text", text]])).items.map(found => ({
      text: found.label === found.token ? found.label : `${found.label} (${found.token})`, value: found.token,
    })),
    token => { location.hash = itemsHash([...items.filter(other => other !== token), token]); });
  return h("div", {class: "choices"}, user, item);
}

async function usersView() {
  if (overview.users.length) {
    location.replace(`#user/${encodeURIComponent(overview.users[0])}`);
    return null;
  }
  return [choices([])];
}

async function userView(user) {
  const answer = await ask("user", [["user", user]]);
  const chips = h("ul", {class: "chips"}, answer.history.map(item => h("li", {}, itemLink(item))));
  return [
    choices([]),
    h("h2", {}, `User ${user}`),
    h("details", {open: answer.history.length <= 20},
      h("summary", {}, `History: ${plural(answer.history.length, "item")}`), chips),
    ...profile(answer),
  ];
}

async function itemsView(...tokens) {
  const answer = await ask("history", tokens.map(token => ["item", token]));
  const chips = answer.history.map(item => h("li", {}, item.label, h("button", {
    "aria-label": `Remove ${item.label}`, type: "button",
    click: () => {
      const rest = tokens.filter(token => token !== item.token);
      location.hash = rest.length ? itemsHash(rest) : "#users";
    },
  }, "×")));
  return [
    choices(tokens),
    h("h2", {}, "A history of your own"),
    h("ul", {class: "chips", id: "history"}, chips),
    answer.unknown.length ? h("p", {class: "faint"}, `Unknown to the model, and skipped: ${answer.unknown.join(", ")}`) : null,
    ...profile(answer),
  ];
}

function profile(answer) {
  return [
    h("h2", {}, "Recommendations"),
    answer.recommendations.length ? null : h("p", {}, "No item that is left has a score above 0."),
    h("ol", {class: "recommendations", id: "recommendations"}, answer.recommendations.map(recommendation)),
    h("h2", {}, "Homepage"),
    h("div", {id: "homepage"}, answer.homepage.map(row => h("section", {},
      h("h3", {}, segmentLink(row.segment)),
      h("p", {class: "faint"}, `affinity ${row.affinity.toFixed(3)}`),
      h("ol", {class: "row", tabindex: "0", "aria-label": row.name}, row.items.map(item => h("li", {},
        itemLink(item), h("span", {class: "faint"}, item.score.toFixed(3)))))))),
    answer.homepage.length ? null : h("p", {}, "No segment has an item left that the model scores above 0."),
    h("h2", {}, "Active latent dimensions"),
    h("p", {class: "faint"},
      "The strongest dimensions of the user, and the weights that the items of the user's best segments have in them.",
      h("span", {class: "key positive"}), "positive", h("span", {class: "key negative"}), "negative; the area is the ",
      "weight, relative to the largest of its row", h("span", {class: "key own"}), "dimension that defines the segment"),
    plot(width => dimensionsPlot(answer.dimensions, width)),
  ];
}

function recommendation(found) {
  const others = (rest, noun) => (rest ? [{name: `${plural(rest.number, "other")}, together`, value: rest.part, isSum: true}] : []);
  return h("li", {"data-item": found.token}, h("details", {},
    h("summary", {}, found.label, h("span", {class: "score"}, found.score.toFixed(3)),
      h("span", {class: "reason"}, `because of ${found.items.filter(item => item.part > 0).slice(0, 2).map(item => item.label).join(", ")}`)),
    h("div", {class: "parts"},
      h("div", {}, h("h3", {}, "Items of the history"), bars([
        ...found.items.map(item => ({name: itemLink(item), value: item.part})), ...others(found.other_items)])),
      h("div", {}, h("h3", {}, "Latent dimensions"), bars([
        ...found.dimensions.map(part => ({name: dimensionLink(part.dimension), value: part.part})),
        ...others(found.other_dimensions)])),
      found.segment === null ? null : h("p", {}, "Segment: ", segmentLink(found.segment)))));
}

// Rows are the user and segments, columns are latent dimensions, circles are weights.
function dimensionsPlot(shown, width) {
  const columns = shown.dimensions.slice(0, width < 600 ? 14 : 24);
  const step = (width - 8) / Math.max(columns.length, 1), top = 52, rowHeight = 52;
  const rows = [{name: "User", weights: shown.user, own: []}, ...shown.segments.map(row => ({
    ...row, name: `${overview.segments[row.segment].name} (affinity ${row.affinity.toFixed(3)})`}))];
  const height = top + rowHeight * rows.length;
  const x = column => 4 + step * (column + 0.5);
  const headings = columns.map((dimension, column) => s("a", {href: `#dimension/${dimension}`},
    s("text", {class: "faint-text", transform: `translate(${x(column) + 4} ${top - 10}) rotate(-90)`}, String(dimension))));
  const lanes = rows.map((row, place) => {
    const y = top + rowHeight * place;
    const largest = Math.max(...row.weights.map(Math.abs), 1e-12);
    const circles = columns.map((dimension, column) => {
      const weight = row.weights[column];
      const marks = [];
      const radius = Math.min(step * 0.48, 13) * Math.sqrt(Math.abs(weight) / largest);
      if (row.own[column]) marks.push(s("rect", {class: "own", x: x(column) - step * 0.48, y: y + 19, width: step * 0.96, height: 28}));
      if (radius > 0.5) {
        marks.push(s("circle", {class: weight < 0 ? "negative" : "positive", cx: x(column), cy: y + 33, r: radius.toFixed(2)},
          s("title", {}, `dimension ${dimension}: ${signed(weight)}`)));
      }
      return marks;
    });
    const longest = Math.floor(width / 6.5);
    const name = row.name.length > longest ? `${row.name.slice(0, longest - 1)}…` : row.name;
    const text = s("text", {x: 4, y: y + 12}, name, s("title", {}, row.name));
    return s("g", {}, s("line", {class: "axis", x1: 0, x2: width, y1: y - 2, y2: y - 2}),
      row.segment === undefined ? text : s("a", {href: `#segment/${row.segment}`}, text), circles);
  });
  return s("svg", {id: "dimensions-plot", role: "img", viewBox: `0 0 ${width} ${height}`, width, height,
    "aria-label": "The user's weights in latent dimensions against those of segments"},
    s("text", {class: "faint-text", x: 4, y: 10}, "Dimension"), headings, lanes);
}

// Segments and dimensions

async function segmentsView() {
  const left = overview.n_left_over ? `, and ${plural(overview.n_left_over, "item")} in none` : "";
  return [
    h("h2", {}, `${plural(overview.segments.length, "segment")} of ${plural(overview.n_items, "item")}${left}`),
    h("ul", {class: "cards", id: "segments"}, overview.segments.map((segment, place) => h("li", {},
      segmentLink(place), " ", h("span", {class: "faint"}, plural(segment.size, "item")),
      h("p", {class: "faint"}, segment.examples.join(" · "))))),
  ];
}

// The first page of a list and a button for the next, unless the page is a file, which has the first one only.
function pages(first, size, rowsOf, next) {
  const place = h("div", {id: "items"}, rowsOf(first));
  let n = first.length;
  const said = h("p", {class: "faint"});
  const more = h("button", {type: "button", click: async () => {
    more.disabled = true;
    try {
      const found = await next(n);
      place.append(rowsOf(found));
      n += found.length;
    } catch (error) {
      place.append(h("p", {role: "alert"}, error.message));
    }
    more.disabled = false;
    tell();
  }}, "Show more");
  function tell() {
    said.textContent = n < size ? `${number(n)} of ${plural(size, "item")}` : plural(size, "item");
    more.hidden = answers || n >= size;
  }
  tell();
  return [said, place, more];
}

async function segmentView(place) {
  const answer = await ask("segment", [["segment", place]]);
  const rowsOf = items => h("ul", {class: "chips"}, items.map(item => h("li", {}, itemLink(item))));
  return [
    h("h2", {}, answer.name),
    ...pages(answer.items, answer.size, rowsOf,
      async start => (await ask("segment", [["segment", place], ["start", start]])).items),
    h("h3", {}, "Its signed latent dimensions"),
    h("ul", {class: "chips"}, answer.factors.map(factor => h("li", {},
      h("a", {href: `#dimension/${factor.dimension}`}, `${factor.sign < 0 ? "−" : "+"} ${factor.dimension}`)))),
  ];
}

async function dimensionsView() {
  const all = overview.dimensions.map((size, dimension) => ({size, dimension})).sort((one, other) => other.size - one.size);
  const active = all.filter(entry => entry.size);
  return [
    h("h2", {}, `${number(active.length)} of ${plural(all.length, "latent dimension")} have items`),
    h("p", {class: "faint"}, "Those with the longest posting lists come first; the small number is that of the items."),
    h("div", {class: "scroll", tabindex: "0", "aria-label": "Latent dimensions"}, h("ul", {class: "chips", id: "dimensions"}, active.map(entry =>
      h("li", {}, h("a", {href: `#dimension/${entry.dimension}`}, String(entry.dimension), " ",
        h("span", {class: "faint"}, number(entry.size))))))),
  ];
}

async function dimensionView(place) {
  const answer = await ask("dimension", [["dimension", place]]);
  const [before, after] = [Number(place) - 1, Number(place) + 1];
  const rowsOf = items => bars(items.map(item => ({name: itemLink(item), value: item.weight})), signed);
  const side = (count, segment, sign) => h("li", {}, `${sign}: ${plural(count, "item")}`,
    segment === null ? null : [", segment ", segmentLink(segment)]);
  return [
    h("h2", {}, `Dimension ${place}`),
    h("p", {},
      before >= 0 ? h("a", {href: `#dimension/${before}`}, `← ${before}`) : null, " ",
      after < overview.embedding_size ? h("a", {href: `#dimension/${after}`}, `${after} →`) : null),
    h("ul", {}, side(answer.n_positive, answer.segments[0], "Positive"),
      side(answer.size - answer.n_positive, answer.segments[1], "Negative")),
    h("h3", {}, "Posting list"),
    ...pages(answer.items, answer.size, rowsOf,
      async start => (await ask("dimension", [["dimension", place], ["start", start]])).items),
  ];
}

// Accuracy and size

async function accuracyView() {
  const results = overview.accuracy;
  const distinct = (rows, name) => [...new Set(rows.map(row => row[name]))];
  const choice = (label, values, chosen) => {
    const select = h("select", {id: label.toLowerCase().replace(" ", "-"), change: () => update()},
      values.map(value => h("option", {selected: value === chosen}, value)));
    return [select, h("div", {}, h("label", {class: "faint", for: select.id}, label), select)];
  };
  const datasets = distinct(results, "dataset");
  const [dataset, datasetChoice] = choice("Data set", datasets, datasets.includes(overview.dataset) ? overview.dataset : datasets[0]);
  const metrics = distinct(results, "metric");
  const [metric, metricChoice] = choice("Metric", metrics, metrics.find(name => name.toLowerCase() === "ndcg@100") ?? metrics[0]);
  const place = h("div", {});
  function update() {
    const rows = results.filter(row => row.dataset === dataset.value && row.metric === metric.value);
    if (!rows.length) return place.replaceChildren(h("p", {}, "There is no such result with a known size."));
    const methods = distinct(rows, "method");
    place.replaceChildren(
      h("p", {class: "faint"}, "Test data, mean over seeds; bars: standard deviation over seeds. ",
        rows[0].smaller_is_better ? "Smaller values are better." : "Larger values are better."),
      plot(width => accuracyPlot(rows, methods, metric.value, width)),
      h("div", {class: "wide"}, h("table", {class: "figures"},
        h("thead", {}, h("tr", {}, ["Method", "Bytes per item", metric.value].map(text => h("th", {scope: "col"}, text)))),
        h("tbody", {}, rows.map(row => h("tr", {},
          h("td", {}, row.name), h("td", {}, number(Math.round(row.bytes))),
          h("td", {}, row.mean.toFixed(4) + (row.sd === null ? "" : ` ± ${row.sd.toFixed(4)}`))))))));
  }
  update();
  return [h("h2", {}, "Accuracy against size"), h("div", {class: "choices"}, datasetChoice, metricChoice), place];
}

function accuracyPlot(rows, methods, metric, width) {
  const height = Math.round(Math.min(420, Math.max(260, width * 0.6))), left = 52, right = 12, top = 16, bottom = 44;
  const logs = rows.map(row => Math.log(row.bytes));
  const lows = rows.map(row => row.mean - (row.sd ?? 0)), highs = rows.map(row => row.mean + (row.sd ?? 0));
  const [x0, x1] = padded(Math.min(...logs), Math.max(...logs)), [y0, y1] = padded(Math.min(...lows), Math.max(...highs));
  const x = bytes => left + (width - left - right) * (Math.log(bytes) - x0) / (x1 - x0);
  const y = value => height - bottom - (height - top - bottom) * (value - y0) / (y1 - y0);
  const sizes = [...new Set(rows.map(row => row.bytes))].sort((one, other) => one - other);
  const ticks = [];
  for (const size of sizes) if (!ticks.length || x(size) - x(ticks.at(-1)) > 48) ticks.push(size);
  const xAxis = ticks.map(size => [
    s("line", {class: "axis", x1: x(size), x2: x(size), y1: top, y2: height - bottom}),
    s("text", {class: "faint-text", x: x(size), y: height - bottom + 16, "text-anchor": "middle"}, number(Math.round(size)))]);
  const yAxis = [0, 1, 2, 3, 4].map(tick => y0 + (y1 - y0) * (tick + 0.5) / 5).map(value => [
    s("line", {class: "axis", x1: left, x2: width - right, y1: y(value), y2: y(value)}),
    s("text", {class: "faint-text", x: left - 6, y: y(value) + 4, "text-anchor": "end"}, value.toPrecision(3))]);
  const series = methods.map((method, place) => {
    const points = rows.filter(row => row.method === method).sort((one, other) => one.bytes - other.bytes);
    const group = s("g", {},
      s("polyline", {fill: "none", "stroke-width": 2, points: points.map(row => `${x(row.bytes)},${y(row.mean)}`).join(" ")}),
      points.map(row => [
        row.sd === null ? null : s("line", {x1: x(row.bytes), x2: x(row.bytes), y1: y(row.mean - row.sd), y2: y(row.mean + row.sd)}),
        marker(place, x(row.bytes), y(row.mean), `${row.name}: ${row.mean.toFixed(4)}, ${number(Math.round(row.bytes))} bytes`)]));
    group.style.stroke = group.style.fill = `var(--series-${place % 8})`;
    return group;
  });
  const legend = h("ul", {class: "chips"}, methods.map((method, place) => {
    const sign = s("svg", {width: 14, height: 12, viewBox: "0 0 14 12"}, marker(place, 6, 6, method));
    sign.style.display = "inline-block";
    sign.style.fill = sign.style.stroke = `var(--series-${place % 8})`;
    return h("li", {}, sign, " ", method);
  }));
  return h("div", {}, s("svg", {id: "accuracy-plot", role: "img", viewBox: `0 0 ${width} ${height}`, width, height,
    "aria-label": `${metric} against bytes per item`}, xAxis, yAxis, series,
    s("text", {class: "faint-text", x: left, y: 10}, metric),
    s("text", {class: "faint-text", x: width - right, y: height - 8, "text-anchor": "end"}, "bytes per item (logarithmic)")), legend);
}

const padded = (low, high) => {
  const margin = (high - low) * 0.08 || Math.abs(high) * 0.05 || 1;
  return [low - margin, high + margin];
};

// Shapes tell methods apart where colours do not.
function marker(place, x, y, text) {
  const shape = [
    () => s("circle", {cx: x, cy: y, r: 4.5}, s("title", {}, text)),
    () => s("rect", {x: x - 4, y: y - 4, width: 8, height: 8}, s("title", {}, text)),
    () => s("path", {d: `M${x} ${y - 5}l5 9h-10z`}, s("title", {}, text)),
    () => s("path", {d: `M${x} ${y - 6}l6 6l-6 6l-6 -6z`}, s("title", {}, text)),
  ];
  return shape[place % shape.length]();
}

// What is shown follows from the address, so that every view can be linked to and gone back to.

const views = {
  users: usersView, user: userView, items: itemsView, segments: segmentsView, segment: segmentView,
  dimensions: dimensionsView, dimension: dimensionView, accuracy: accuracyView,
};
const tabs = {user: "users", items: "users", segment: "segments", dimension: "dimensions"};
let turn = 0;

async function show() {
  const mine = ++turn;
  const [, view, rest] = location.hash.match(/^#?([^/]*)\/?(.*)$/);
  const name = Object.hasOwn(views, view) ? view : "users";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${tabs[name] ?? name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  main.setAttribute("aria-busy", "true");
  let content;
  try {
    const parts = rest.split(",").filter(Boolean).map(decodeURIComponent);
    content = await views[name](...parts);
  } catch (error) {
    content = [choices([]), h("p", {role: "alert"}, error.message)];
  }
  if (mine !== turn || !content) return;
  main.replaceChildren(...content.filter(Boolean));
  main.setAttribute("aria-busy", "false");
  window.scrollTo(0, 0);
}

async function start() {
  try {
    overview = await ask("overview");
  } catch (error) {
    main.replaceChildren(h("p", {role: "alert"}, error.message));
    return;
  }
  document.getElementById("summary").textContent = `${plural(overview.n_items, "item")} · ${plural(overview.n_users, "user")} · ` +
    `${plural(overview.embedding_size, "latent dimension")} · ${(overview.n_nonzeros / overview.n_items).toFixed(1)} non-zeros an item`;
  document.getElementById("to-accuracy").hidden = !overview.accuracy.length;
  window.addEventListener("hashchange", show);
  await show();
}

start();
