"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const HISTORY = 600; // seconds
  let samples = [];
  let requests = [];
  let gateway = null;
  let last = null;
  let paused = false;

  // Elements are made with text alone, so nothing that the gateway sends can become markup.
  const el = (tag, text, kind) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  const put = (element, text, kind = "") => {
    if (element.textContent !== text) element.textContent = text;
    if (element.className !== kind) element.className = kind;
  };

  const count = (n) => (n ?? 0).toLocaleString("en");
  const rate = (n) => (n ?? 0).toLocaleString("en", { maximumFractionDigits: n < 10 ? 1 : 0 });
  const ms = (n) => (n === null || n === undefined ? "–" : n < 10 ? n.toFixed(1) : count(Math.round(n)));
  const three = (all) => (all ? all.map(ms).join(" / ") : "–");
  const time = (at) => new Date(at).toLocaleTimeString("en-GB");
  const or = (text) => text || "–";
  const span = (seconds) => {
    if (seconds === null || seconds === undefined) return "–";
    const [d, h, m] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
    const s = Math.floor(seconds) % 60;
    return d ? `${d} d ${h} h` : h ? `${h} h ${m} min` : m ? `${m} min ${s} s` : `${s} s`;
  };

  // A list of terms: [[term, description, class]…].
  const list = (id, all) => {
    const dl = $(id);
    while (dl.children.length > all.length) dl.lastChild.remove();
    all.forEach(([term, text, kind], at) => {
      let div = dl.children[at];
      if (!div) {
        div = id === "now" ? el("div") : el("div", undefined, "row");
        div.append(el("dt"), el("dd"));
        dl.append(div);
      }
      put(div.children[0], term);
      put(div.children[1], text, kind);
    });
  };

  // Fills a table, and changes only the cells that differ. A cell is a text, or [text, class].
  const fill = (id, columns, rows) => {
    const table = $(id);
    if (!table.tHead) {
      const head = table.createTHead().insertRow();
      for (const column of columns) {
        const th = el("th", column.replace(/^#/, ""), column.startsWith("#") ? "n" : "");
        th.scope = "col";
        head.append(th);
      }
      table.createTBody();
    }
    const body = table.tBodies[0];
    while (body.rows.length > rows.length) body.deleteRow(-1);
    rows.forEach((cells, at) => {
      let row = body.rows[at];
      if (!row) {
        row = body.insertRow();
        for (const column of columns) row.append(el("td", "", column.startsWith("#") ? "n" : ""));
      }
      cells.forEach((cell, n) => {
        const [text, kind = ""] = Array.isArray(cell) ? cell : [cell];
        put(row.cells[n], String(text), `${columns[n].startsWith("#") ? "n " : ""}${kind}`.trim());
      });
    });
    table.closest(".table").hidden = !rows.length;
  };

  // Curves, as [caption, unit, [[column, name, colour, dash]…]].
  const CURVES = [
    ["Requests", "per second", [["requests_per_second", "requests", "blue", ""], ["failures_per_second", "failed", "red", "dash"]]],
    ["Time to the first byte", "ms", [["first_byte_p50_ms", "p50", "blue", ""], ["first_byte_p95_ms", "p95", "amber", "dash"], ["first_byte_p99_ms", "p99", "purple", "dot"]]],
    ["Time to the last byte", "ms", [["total_p50_ms", "p50", "blue", ""], ["total_p95_ms", "p95", "amber", "dash"], ["total_p99_ms", "p99", "purple", "dot"]]],
    ["Tokens", "per second", [["input_tokens_per_second", "input", "blue", ""], ["output_tokens_per_second", "output", "purple", "dash"]]],
  ];
  const DASH = { dash: [8, 5], dot: [2, 4] };
  let columns = [];
  let plots = [];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const data = (curve) => [
    samples.map((sample) => sample[0] / 1000),
    ...curve[2].map(([column]) => samples.map((sample) => sample[columns.indexOf(column)])),
  ];
  const draw = () => {
    for (const { plot } of plots) plot.destroy();
    $("charts").replaceChildren();
    plots = CURVES.map((curve) => {
      const [caption, unit, series] = curve;
      const figure = el("figure");
      const title = el("figcaption");
      title.append(el("b", `${caption}, ${unit}`));
      for (const [, name, tint, dash] of series) title.append(el("span", name, `key ${tint} ${dash}`));
      const box = el("div");
      box.setAttribute("role", "img");
      figure.append(title, box);
      $("charts").append(figure);
      const axis = { stroke: colour("dim"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
      const size = () => ({ width: Math.max(box.clientWidth, 200), height: 150 });
      const plot = new uPlot(
        {
          ...size(),
          legend: { show: false },
          cursor: { show: false },
          scales: { y: { range: (_, min, max) => [0, Math.max(max ?? 0, 1) * 1.1] } },
          axes: [{ ...axis, size: 30, values: (_, all) => all.map((at) => time(at * 1000)) }, { ...axis, size: 60 }],
          series: [{}, ...series.map(([, label, tint, dash]) => ({ label, stroke: colour(tint), width: 2, dash: DASH[dash], spanGaps: false }))],
        },
        data(curve),
        box,
      );
      new ResizeObserver(() => plot.setSize(size())).observe(box);
      return { plot, curve, box };
    });
    describe();
  };
  const describe = () => {
    const latest = samples.at(-1) ?? [];
    for (const { curve: [caption, unit, series], box } of plots) {
      const now = series.map(([column, name]) => `${name} ${ms(latest[columns.indexOf(column)] ?? null)}`);
      box.setAttribute("aria-label", `${caption}, ${unit}, over the last ten minutes; now: ${now.join(", ")}`);
    }
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => gateway && draw());

  const GROUP = ["name", "#requests", "#failed", "#per second", "#first byte", "#last byte", "#input tokens", "#output tokens", "failures"];
  const group = (row) => [
    row.name || "(none)",
    count(row.requests),
    [count(row.failed), row.failed ? "bad" : ""],
    rate(row.requests_per_second),
    three(row.first_byte_ms),
    three(row.total_ms),
    count(row.input_tokens),
    count(row.output_tokens),
    row.failures.map(({ kind, count: n }) => `${kind}: ${count(n)}`).join(", ") || "–",
  ];
  const REQUEST = ["time", "request", "model", "#status", "code", "#ms", "#first byte", "#input", "#output", "key", "location"];
  const request = (one) => {
    const kind = one.status >= 500 || (one.status < 400 && one.code) ? "bad" : one.status >= 400 ? "warn" : "good";
    return [
      time(one.arrived_ms), `${one.method} ${one.operation || "other"}`, or(one.model), [one.status, kind], or(one.code), ms(one.ms),
      ms(one.first_byte_ms), one.input_tokens ?? "–", one.output_tokens ?? "–", or(one.key), or(one.location),
    ];
  };

  const showGateway = () => {
    put($("what"), `${gateway.version}, clients at ${gateway.listening_on}${gateway.emulator ? ", with the emulator" : ""}; upstream ${gateway.upstream}`);
    $("key-label").hidden = !gateway.keys;
    $("table").replaceChildren(...gateway.table.map((name) => Object.assign(el("option"), { value: name })));
    const why = gateway.can_try.why_not;
    $("try").hidden = !gateway.can_try.offered;
    $("try-off").hidden = gateway.can_try.offered;
    put($("try-off"), why ? `Not offered: ${why}.` : "");
    if (!gateway.can_check.offered) put($("check-state"), `Not offered: ${gateway.can_check.why_not}.`);
  };

  const show = () => {
    const s = last;
    if (!s || paused) return;
    const latest = samples.at(-1) ?? [];
    const of = (column) => latest[columns.indexOf(column)];
    put($("state"), s.state.replace("_", " "), `badge ${{ serving: "good", draining: "warn" }[s.state] ?? "bad"}`);
    $("state").title = s.reason ?? "";
    list("now", [
      ["requests per second", rate(of("requests_per_second"))],
      ["in flight", `${count(s.requests_in_flight)}${s.requests_queued ? `, ${count(s.requests_queued)} queued` : ""}`],
      ["first byte, ms (p50 / p95 / p99)", three(s.total.first_byte_ms)],
      ["last byte, ms (p50 / p95 / p99)", three(s.total.total_ms)],
      ["tokens per second (in / out)", `${rate(of("input_tokens_per_second"))} / ${rate(of("output_tokens_per_second"))}`],
      ["requests since the start", count(s.total.requests)],
      ["failed since the start", count(s.total.failed), s.total.failed ? "bad" : ""],
      ["connections (clients / Vertex AI)", `${count(s.client_connections)} / ${count(s.upstream_connections)}`],
      ["running for", span((s.now_ms - s.started_ms) / 1000)],
    ]);
    const t = s.token;
    list("token", [
      ["credentials", gateway.credentials],
      ["project and location", `${or(gateway.project)}, ${or(gateway.location)}`],
      ["client keys", gateway.keys ? count(gateway.keys) : gateway.client_certificates ? "none; clients present certificates" : "none"],
      ["running since", `${new Date(s.started_ms).toLocaleDateString("en-CA")} ${time(s.started_ms)}`],
      ["token", t.generation ? `number ${t.generation}, ${span(t.age_seconds)} old` : "none yet", t.generation ? "" : "bad"],
      ["next refresh in", span(t.refresh_in_seconds)],
      ["expires in", span(t.expires_in_seconds)],
      ["rejected by Vertex AI (401)", count(t.rejections), t.rejections ? "warn" : ""],
    ]);
    const words = (text) => text.replaceAll("_", " ");
    fill("refreshes", ["reason", "outcome", "#count"], t.refreshes.map((r) => [words(r.reason), [words(r.outcome), r.outcome === "failed" ? "bad" : ""], count(r.count)]));
    put($("fetches"), t.fetches.slice(-8).reverse().map((f) => `${time(f.at_ms)} ${words(f.reason)}: ${words(f.outcome)}`).join("; "));
    $("circuit-section").hidden = !s.circuits.length;
    fill("circuits", ["model", "location", "circuit", "#failures in a row", "next probe in"], s.circuits.map((c) => [
      c.model, c.location, [words(c.state), { closed: "good", open: "bad" }[c.state] ?? "warn"], count(c.failures), span(c.probe_in_seconds),
    ]));
    put($("window"), String(Math.round(s.window_seconds)));
    for (const id of ["models", "locations", "keys"]) fill(id, GROUP, s[id].map(group));
    fill("requests", REQUEST, requests.map(request));
    for (const { plot, curve } of plots) plot.setData(data(curve));
    describe();
    showCheck(s.check);
  };

  const showCheck = (check) => {
    if (!gateway.can_check.offered) return void ($("check").disabled = true);
    $("check").disabled = check.running;
    const report = check.report;
    const text = check.running ? "running…" : report ? `${report.ok ? "all passed" : "failed"} at ${time(check.ended_ms)}` : "";
    put($("check-state"), text, report && !check.running ? (report.ok ? "good" : "bad") : "");
    const lines = report?.error ? [[`✗ ${report.error}`, "bad"]] : (report?.checks ?? []).map((c) => [
      `${c.ok === null ? "–" : c.ok ? "✓" : "✗"} ${c.name}: ${c.detail}${c.remedy ? `\n${c.remedy}` : ""}`, c.ok === false ? "bad" : "",
    ]);
    const ul = $("checks");
    if (ul.dataset.at === String(check.ended_ms)) return;
    ul.dataset.at = String(check.ended_ms);
    ul.replaceChildren(...lines.map(([line, kind]) => el("li", line, kind)));
  };

  const take = (event, whole) => {
    const s = JSON.parse(event.data);
    if (whole) {
      gateway = s.gateway;
      columns = s.columns;
      samples = s.samples;
      requests = s.requests.reverse();
      showGateway();
      draw();
    } else {
      const newest = samples.at(-1)?.[0] ?? 0;
      samples.push(...s.samples.filter((sample) => sample[0] > newest));
      samples = samples.filter((sample) => sample[0] > s.now_ms - HISTORY * 1000);
      const number = requests[0]?.number ?? 0;
      requests = [...s.requests.filter((one) => one.number > number).reverse(), ...requests].slice(0, 100);
    }
    last = s;
    show();
  };
  const connect = () => {
    const source = new EventSource("status/events");
    const link = (text, kind) => put($("link"), text, kind);
    source.onopen = () => link("live", "good");
    source.addEventListener("whole", (event) => take(event, true));
    source.addEventListener("latest", (event) => gateway && take(event, false));
    source.addEventListener("end", () => link("the gateway has ended", "bad"));
    source.onerror = () => {
      link("no connection; trying again", "bad");
      // A refusal, such as that too many pages are open, ends the source.
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, 5000);
    };
  };

  $("pause").addEventListener("click", () => {
    paused = !paused;
    $("pause").setAttribute("aria-pressed", String(paused));
    show();
  });
  const post = async (path, body) => {
    const headers = { "content-type": "application/json", "x-vertex-gateway-status": "1" };
    const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
    const reply = await response.json();
    if (!response.ok) throw new Error(reply.error);
    return reply;
  };
  $("check").addEventListener("click", async () => {
    $("check").disabled = true;
    try {
      showCheck(await post("status/check", {}));
    } catch (error) {
      put($("check-state"), error.message, "bad");
    }
  });
  $("try").addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target;
    const body = Object.fromEntries(new FormData(form));
    // The key is kept nowhere.
    form.elements.key.value = "";
    const button = form.querySelector("button");
    button.disabled = true;
    $("answer").replaceChildren(el("p", "waiting for the response…"));
    try {
      const reply = await post("status/try", body);
      const facts = [reply.status && `status ${reply.status}`, reply.seconds !== undefined && `${reply.seconds} s`, reply.finish_reason, reply.usage && `${reply.usage.total_tokens} tokens`];
      const failed = reply.error || (reply.status && reply.status >= 400);
      $("answer").replaceChildren(
        el("p", reply.text ?? reply.error ?? "The response has no text.", failed ? "bad" : ""),
        el("div", facts.filter(Boolean).join(", ")),
      );
    } catch (error) {
      $("answer").replaceChildren(el("p", error.message, "bad"));
    } finally {
      button.disabled = false;
    }
  });
  connect();
})();
