// Segments and dimensions

async function segmentsView() {
  const left = overview.n_left_over ? `, and ${plural(overview.n_left_over, "item")} in none` : "";
  return [
    h("h2", {}, `${plural(overview.segments.length, "segment")} of ${plural(overview.n_items, "item")}${left}`),
    h(
      "ul",
      {class: "cards", id: "segments"},
      overview.segments.map((segment, place) =>
        h(
          "li",
          {},
          segmentLink(place),
          " ",
          h("span", {class: "faint"}, plural(segment.size, "item")),
          h("p", {class: "faint"}, segment.examples.join(" · ")),
        ),
      ),
    ),
  ];
}

// The first page of a list and a button for the next, unless the page is a file, which has the first one only.
function pages(first, size, rowsOf, next) {
  const place = h("div", {id: "items"}, rowsOf(first));
  let n = first.length;
  const said = h("p", {class: "faint"});
  const more = h(
    "button",
    {
      type: "button",
      click: async () => {
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
      },
    },
    "Show more",
  );
  function tell() {
    said.textContent = n < size ? `${number(n)} of ${plural(size, "item")}` : plural(size, "item");
    more.hidden = answers || n >= size;
  }
  tell();
  return [said, place, more];
}

async function segmentView(place) {
  const answer = await ask("segment", [["segment", place]]);
  const rowsOf = items =>
    h(
      "ul",
      {class: "chips"},
      items.map(item => h("li", {}, itemLink(item))),
    );
  return [
    h("h2", {}, answer.name),
    ...pages(
      answer.items,
      answer.size,
      rowsOf,
      async start =>
        (
          await ask("segment", [
            ["segment", place],
            ["start", start],
          ])
        ).items,
    ),
    h("h3", {}, "Its signed latent dimensions"),
    h(
      "ul",
      {class: "chips"},
      answer.factors.map(factor =>
        h(
          "li",
          {},
          h("a", {href: `#dimension/${factor.dimension}`}, `${factor.sign < 0 ? "−" : "+"} ${factor.dimension}`),
        ),
      ),
    ),
  ];
}

// What a list of dimensions can be sorted by; equal ones stay in the order of their numbers.
const orders = {
  "Most items": (one, other) => other.size - one.size,
  "Fewest items": (one, other) => one.size - other.size,
  Name: (one, other) => one.name.localeCompare(other.name),
  Number: () => 0,
};
const dimensionsAtOnce = 120;

async function dimensionsView() {
  const all = (await ask("dimensions")).dimensions;
  const texts = all.map(found =>
    [found.dimension, ...found.positive, ...found.negative].join("\n").toLocaleLowerCase("en"),
  );
  const search = h("input", {id: "search", type: "search", autocomplete: "off", input: () => update()});
  const order = h(
    "select",
    {id: "order", change: () => update()},
    Object.keys(orders).map(name => h("option", {}, name)),
  );
  const list = h("ul", {class: "cards", id: "dimensions"});
  const said = h("p", {class: "faint"});
  const more = h("button", {type: "button", click: () => show(list.children.length)}, "Show more");
  let shown = [];
  function show(start) {
    list.append(...shown.slice(start, start + dimensionsAtOnce).map(dimensionCard));
    more.hidden = list.children.length >= shown.length;
  }
  function update() {
    const text = search.value.trim().toLocaleLowerCase("en");
    shown = all.filter((found, place) => texts[place].includes(text)).sort(orders[order.value]);
    list.replaceChildren();
    said.textContent = text ? `${number(shown.length)} of ${plural(all.length, "dimension")}` : "";
    show(0);
  }
  update();
  const choice = (field, label) => h("div", {}, h("label", {class: "faint", for: field.id}, label), field);
  return [
    h("h2", {}, `${number(all.length)} of ${plural(overview.embedding_size, "latent dimension")} have items`),
    h(
      "p",
      {class: "faint"},
      "Each is called by the items of its largest weights: positive ones, ↔, and negative ones.",
    ),
    h("div", {class: "choices"}, choice(search, "Search by item or number"), choice(order, "Sort by")),
    said,
    list,
    more,
  ];
}

function dimensionCard(found) {
  const side = (sign, labels, count) =>
    count ? h("p", {class: "faint"}, `${sign} ${plural(count, "item")}: ${labels.join(" · ")}`) : null;
  return h(
    "li",
    {},
    h("a", {href: `#dimension/${found.dimension}`}, found.name),
    " ",
    h("span", {class: "faint"}, `dimension ${found.dimension}, ${plural(found.size, "item")}`),
    side("+", found.positive, found.n_positive),
    side("−", found.negative, found.size - found.n_positive),
  );
}

async function dimensionView(place) {
  const answer = await ask("dimension", [["dimension", place]]);
  const [before, after] = [Number(place) - 1, Number(place) + 1];
  const rowsOf = items =>
    bars(
      items.map(item => ({name: itemLink(item), value: item.weight})),
      {written: signed, twoSided: answer.n_positive < answer.size, largest: Math.abs(answer.items[0]?.weight ?? 1)},
    );
  const side = (count, segment, sign) =>
    h("li", {}, `${sign}: ${plural(count, "item")}`, segment === null ? null : [", segment ", segmentLink(segment)]);
  return [
    h("h2", {}, `Dimension ${place}`),
    answer.name ? h("p", {}, answer.name) : null,
    h(
      "p",
      {},
      before >= 0 ? h("a", {href: `#dimension/${before}`}, `← ${before}`) : null,
      " ",
      after < overview.embedding_size ? h("a", {href: `#dimension/${after}`}, `${after} →`) : null,
    ),
    h(
      "ul",
      {},
      side(answer.n_positive, answer.segments[0], "Positive"),
      side(answer.size - answer.n_positive, answer.segments[1], "Negative"),
    ),
    h("h3", {}, "Posting list"),
    ...pages(
      answer.items,
      answer.size,
      rowsOf,
      async start =>
        (
          await ask("dimension", [
            ["dimension", place],
            ["start", start],
          ])
        ).items,
    ),
  ];
}

// Accuracy and size

async function accuracyView() {
  const results = overview.accuracy;
  const heading = h("h2", {}, "Accuracy against size");
  if (!results.length) return [heading, h("p", {}, "No results of a leaderboard lie beside the checkpoint.")];
  const distinct = (rows, name) => [...new Set(rows.map(row => row[name]))];
  const choice = (label, values, chosen) => {
    const select = h(
      "select",
      {id: label.toLowerCase().replace(" ", "-"), change: () => update()},
      values.map(value => h("option", {selected: value === chosen}, value)),
    );
    return [select, h("div", {}, h("label", {class: "faint", for: select.id}, label), select)];
  };
  const datasets = distinct(results, "dataset");
  const [dataset, datasetChoice] = choice(
    "Data set",
    datasets,
    datasets.includes(overview.dataset) ? overview.dataset : datasets[0],
  );
  const metrics = distinct(results, "metric");
  const [metric, metricChoice] = choice(
    "Metric",
    metrics,
    metrics.find(name => name.toLowerCase() === "ndcg@100") ?? metrics[0],
  );
  const place = h("div", {});
  function update() {
    const rows = results.filter(row => row.dataset === dataset.value && row.metric === metric.value);
    if (!rows.length) return place.replaceChildren(h("p", {}, "There is no such result with a known size."));
    const methods = distinct(rows, "method");
    place.replaceChildren(
      h(
        "p",
        {class: "faint"},
        "Test data, mean over seeds; bars: standard deviation over seeds. ",
        rows[0].smaller_is_better ? "Smaller values are better." : "Larger values are better.",
      ),
      plot(width => accuracyPlot(rows, methods, metric.value, width)),
      h(
        "div",
        {class: "wide"},
        h(
          "table",
          {class: "figures"},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              ["Method", "Bytes per item", metric.value].map(text => h("th", {scope: "col"}, text)),
            ),
          ),
          h(
            "tbody",
            {},
            rows.map(row =>
              h(
                "tr",
                {},
                h("td", {}, row.name),
                h("td", {}, number(Math.round(row.bytes))),
                h("td", {}, row.mean.toFixed(4) + (row.sd === null ? "" : ` ± ${row.sd.toFixed(4)}`)),
              ),
            ),
          ),
        ),
      ),
    );
  }
  update();
  return [heading, h("div", {class: "choices"}, datasetChoice, metricChoice), place];
}
