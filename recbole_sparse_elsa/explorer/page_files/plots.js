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

// Rows are the user and segments, columns are latent dimensions, circles are weights.
function dimensionsPlot(shown, width) {
  const columns = shown.dimensions.slice(0, width < 600 ? 14 : 24);
  const step = (width - 8) / Math.max(columns.length, 1),
    top = 52,
    rowHeight = 52;
  const rows = [
    {name: "User", weights: shown.user, own: []},
    ...shown.segments.map(row => ({
      ...row,
      name: `${overview.segments[row.segment].name} (affinity ${decimal(row.affinity)})`,
    })),
  ];
  const height = top + rowHeight * rows.length;
  const x = column => 4 + step * (column + 0.5);
  const headings = columns.map((dimension, column) =>
    s(
      "a",
      {href: `#dimension/${dimension}`},
      s(
        "text",
        {class: "faint-text", transform: `translate(${x(column) + 4} ${top - 10}) rotate(-90)`},
        String(dimension),
      ),
    ),
  );
  const lanes = rows.map((row, place) => {
    const y = top + rowHeight * place;
    const largest = Math.max(...row.weights.slice(0, columns.length).map(Math.abs), 1e-12);
    const circles = columns.map((dimension, column) => {
      const weight = row.weights[column];
      const marks = [];
      const radius = Math.min(step * 0.48, 13) * Math.sqrt(Math.abs(weight) / largest);
      if (row.own[column])
        marks.push(s("rect", {class: "own", x: x(column) - step * 0.48, y: y + 19, width: step * 0.96, height: 28}));
      if (radius > 0.5) {
        marks.push(
          s(
            "circle",
            {class: weight < 0 ? "negative" : "positive", cx: x(column), cy: y + 33, r: radius.toFixed(2)},
            s("title", {}, `dimension ${dimension}: ${signed(weight)}`),
          ),
        );
      }
      return marks;
    });
    const longest = Math.floor(width / 6.5);
    const name = row.name.length > longest ? `${row.name.slice(0, longest - 1)}…` : row.name;
    const text = s("text", {x: 4, y: y + 12}, name, s("title", {}, row.name));
    return s(
      "g",
      {},
      s("line", {class: "axis", x1: 0, x2: width, y1: y - 2, y2: y - 2}),
      row.segment === undefined ? text : s("a", {href: `#segment/${row.segment}`}, text),
      circles,
    );
  });
  return s(
    "svg",
    {
      id: "dimensions-plot",
      role: "img",
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      "aria-label": "The user's weights in latent dimensions against those of segments",
    },
    s("text", {class: "faint-text", x: 4, y: 10}, "Dimension"),
    headings,
    lanes,
  );
}

function accuracyPlot(rows, methods, metric, width) {
  const height = Math.round(Math.min(420, Math.max(260, width * 0.6))),
    left = 52,
    right = 12,
    top = 16,
    bottom = 44;
  const logs = rows.map(row => Math.log(row.bytes));
  const lows = rows.map(row => row.mean - (row.sd ?? 0)),
    highs = rows.map(row => row.mean + (row.sd ?? 0));
  const [x0, x1] = padded(Math.min(...logs), Math.max(...logs)),
    [y0, y1] = padded(Math.min(...lows), Math.max(...highs));
  const x = bytes => left + ((width - left - right) * (Math.log(bytes) - x0)) / (x1 - x0);
  const y = value => height - bottom - ((height - top - bottom) * (value - y0)) / (y1 - y0);
  const sizes = [...new Set(rows.map(row => row.bytes))].sort((one, other) => one - other);
  const ticks = [];
  for (const size of sizes) if (!ticks.length || x(size) - x(ticks.at(-1)) > 48) ticks.push(size);
  const xAxis = ticks.map(size => [
    s("line", {class: "axis", x1: x(size), x2: x(size), y1: top, y2: height - bottom}),
    s(
      "text",
      {class: "faint-text", x: x(size), y: height - bottom + 16, "text-anchor": "middle"},
      number(Math.round(size)),
    ),
  ]);
  const yAxis = roundTicks(y0, y1).map(([value, text]) => [
    s("line", {class: "axis", x1: left, x2: width - right, y1: y(value), y2: y(value)}),
    s("text", {class: "faint-text", x: left - 6, y: y(value) + 4, "text-anchor": "end"}, text),
  ]);
  const series = methods.map((method, place) => {
    const points = rows.filter(row => row.method === method).sort((one, other) => one.bytes - other.bytes);
    const group = s(
      "g",
      {},
      s("polyline", {
        fill: "none",
        "stroke-width": 2,
        points: points.map(row => `${x(row.bytes)},${y(row.mean)}`).join(" "),
      }),
      points.map(row => [
        row.sd === null
          ? null
          : s("line", {x1: x(row.bytes), x2: x(row.bytes), y1: y(row.mean - row.sd), y2: y(row.mean + row.sd)}),
        marker(
          place,
          x(row.bytes),
          y(row.mean),
          `${row.name}: ${row.mean.toFixed(4)}, ${number(Math.round(row.bytes))} bytes`,
        ),
      ]),
    );
    group.style.stroke = group.style.fill = `var(--series-${place % 8})`;
    return group;
  });
  const legend = h(
    "ul",
    {class: "chips"},
    methods.map((method, place) => {
      const sign = s("svg", {width: 14, height: 12, viewBox: "0 0 14 12"}, marker(place, 6, 6, method));
      sign.style.display = "inline-block";
      sign.style.fill = sign.style.stroke = `var(--series-${place % 8})`;
      return h("li", {}, sign, " ", method);
    }),
  );
  return h(
    "div",
    {},
    s(
      "svg",
      {
        id: "accuracy-plot",
        role: "img",
        viewBox: `0 0 ${width} ${height}`,
        width,
        height,
        "aria-label": `${metric} against bytes per item`,
      },
      xAxis,
      yAxis,
      series,
      s("text", {class: "faint-text", x: left, y: 10}, metric),
      s(
        "text",
        {class: "faint-text", x: width - right, y: height - 8, "text-anchor": "end"},
        "bytes per item (logarithmic)",
      ),
    ),
    legend,
  );
}

const padded = (low, high) => {
  const margin = (high - low) * 0.08 || Math.abs(high) * 0.05 || 1;
  return [low - margin, high + margin];
};

// At most 8 values, 1, 2 or 5 times a power of ten apart, with their texts.
function roundTicks(low, high) {
  const power = Math.floor(Math.log10((high - low) / 8));
  const factor = [1, 2, 5, 10].find(factor => (high - low) / (factor * 10 ** power) <= 8);
  const step = factor * 10 ** power;
  const ticks = [];
  for (let n = Math.ceil(low / step); n * step <= high; n++) {
    ticks.push([n * step, (n * step).toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)))]);
  }
  return ticks;
}

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
