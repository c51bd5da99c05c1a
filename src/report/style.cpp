// CSS and JavaScript of the report page. The first series colours are blue, vermilion
// and green of Okabe and Ito's palette for colour-blind readers, lighter ones on dark ground; five more are
// for runs beside each other.
#include "src/report/style.h"

namespace lockstep {

std::string_view report_css() {
  return R"css(
:root { --page: #f6f6f4; --card: #fff; --ink: #1d232b; --muted: #5b6470; --line: #e2e4e7; --base: #9aa1aa;
  --c1: #0072b2; --c2: #d55e00; --c3: #00795a; --c4: #a8487f; --c5: #7a5c00; --c6: #2f8fc4; --c7: #6a51a3; --c8: #4d5358;
  --right: 0 114 178; --wrong: 213 94 0; --on-light: #fff; --on-dark: #000;
  --warn: #9a4300; color-scheme: light; }
@media (prefers-color-scheme: dark) { :root:not([data-theme=light]) {
  --page: #111418; --card: #1a1e24; --ink: #e5e8ec; --muted: #9da6b1; --line: #2d333b; --base: #59626d;
  --c1: #58b1e8; --c2: #f0914a; --c3: #35c39a; --c4: #e08fc0; --c5: #e3c14f; --c6: #9fd3f5; --c7: #b9a5ec; --c8: #b6bdc6;
  --right: 60 150 215; --wrong: 235 130 50; --on-light: #000; --on-dark: #fff;
  --warn: #ffb27a; color-scheme: dark; } }
:root[data-theme=dark] {
  --page: #111418; --card: #1a1e24; --ink: #e5e8ec; --muted: #9da6b1; --line: #2d333b; --base: #59626d;
  --c1: #58b1e8; --c2: #f0914a; --c3: #35c39a; --c4: #e08fc0; --c5: #e3c14f; --c6: #9fd3f5; --c7: #b9a5ec; --c8: #b6bdc6;
  --right: 60 150 215; --wrong: 235 130 50; --on-light: #000; --on-dark: #fff;
  --warn: #ffb27a; color-scheme: dark; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", Arial, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 20px 16px 40px; }
header { display: flex; align-items: baseline; flex-wrap: wrap; gap: 2px 14px; margin-bottom: 12px;
  position: relative; padding-right: 70px; }
h1 { font-size: 24px; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 16px; margin: 0 0 6px; }
h3 { font-size: 14px; margin: 14px 0 4px; }
header .status { color: var(--muted); }
header .status.bad { color: var(--warn); font-weight: 600; }
header button { position: absolute; right: 0; top: 2px; font: inherit; font-size: 13px; color: var(--muted); background: none;
  border: 1px solid var(--line); border-radius: 6px; padding: 2px 10px; cursor: pointer; }
nav { display: flex; flex-wrap: wrap; gap: 2px 18px; margin: -2px 2px 12px; font-size: 14px; }
nav a, td a { color: var(--c1); text-decoration: none; } nav a:hover, td a:hover { text-decoration: underline; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px;
  margin: 0 0 14px; min-width: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(148px, 1fr)); gap: 1px; padding: 0;
  overflow: hidden; }
.tile { box-shadow: 0 0 0 1px var(--line); padding: 10px 14px; }
.tile dt { color: var(--muted); font-size: 13px; }
.tile dd { margin: 0; font-size: 21px; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile dd small { display: block; font-size: 12.5px; color: var(--muted); }
dl { margin: 0; }
.verdict p { margin: 0; }
.verdict b.warn { color: var(--warn); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 0 14px; }
figure { margin: 0; }
.attentions { display: flex; flex-wrap: wrap; gap: 18px 28px; overflow-x: auto; }
.attention text { font: 12px ui-monospace, "DejaVu Sans Mono", monospace; fill: var(--ink); }
.attention rect { fill: var(--c1); stroke: var(--line); stroke-width: .5; }
figcaption { display: flex; flex-wrap: wrap; gap: 0 8px; align-items: baseline; margin-bottom: 10px; }
.unit, .note { color: var(--muted); font-size: 13px; }
.note { margin: 4px 0 8px; }
.legend { margin-left: auto; display: flex; flex-wrap: wrap; gap: 0 14px; font-size: 13px; }
.key { display: inline-flex; align-items: baseline; gap: 6px; }
.key svg { flex: none; }
.plot { position: relative; height: 220px; margin: 14px 14px 0 52px; touch-action: pan-y; }
.charts > .wide { grid-column: 1 / -1; }
.charts + .note { margin-top: -6px; }
.plot > svg { clip-path: inset(-5px -5px 0 -5px); position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; display: block; }
svg path { fill: none; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.grid { stroke: var(--line); }
.base { stroke: var(--base); }
.mark { stroke: var(--muted); stroke-dasharray: 3 4; }
.line { stroke-width: 1.8; }
.faint { stroke-width: 1; opacity: .32; }
.dots { stroke-width: 6; stroke-linecap: round; }
.s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); } .s3 { stroke: var(--c3); } .s4 { stroke: var(--c4); }
.s5 { stroke: var(--c5); } .s6 { stroke: var(--c6); } .s7 { stroke: var(--c7); } .s8 { stroke: var(--c8); }
.dashed { stroke-dasharray: 7 4; }
.f1 { fill: var(--c1); } .f2 { fill: var(--c2); } .f3 { fill: var(--c3); } .f0 { fill: var(--base); }
.ty, .tx, .tm { position: absolute; font-size: 12px; line-height: 1; color: var(--muted); white-space: nowrap;
  font-variant-numeric: tabular-nums; pointer-events: none; }
.ty { right: 100%; margin-right: 7px; transform: translateY(-50%); }
.tx { top: 100%; margin-top: 8px; transform: translateX(-50%); }
.tx::before { content: ""; position: absolute; left: 50%; top: -8px; height: 4px; border-left: 1px solid var(--base); }
.te { top: 100%; margin-top: 24px; transform: translateX(-50%); position: absolute; font-size: 12px; line-height: 1;
  color: var(--muted); white-space: nowrap; font-style: italic; pointer-events: none; }
.tm { top: -14px; transform: translateX(-50%); font-size: 11px; }
.tm.left { transform: translateX(-90%); }
.xtitle { text-align: center; color: var(--muted); font-size: 12px; margin: 24px 0 0 38px; }
.xtitle.epochs { margin-top: 41px; }
.cursor { position: absolute; top: 0; bottom: 0; border-left: 1px solid var(--muted); pointer-events: none; }
.tip { position: absolute; top: 4px; z-index: 1; background: var(--card); border: 1px solid var(--base);
  border-radius: 6px; padding: 3px 8px; font-size: 12px; white-space: nowrap; pointer-events: none;
  font-variant-numeric: tabular-nums; }
.tip i { display: inline-block; width: 9px; height: 9px; border-radius: 5px; margin-right: 5px; }
.c1 { background: var(--c1); } .c2 { background: var(--c2); } .c3 { background: var(--c3); } .c4 { background: var(--c4); }
.c5 { background: var(--c5); } .c6 { background: var(--c6); } .c7 { background: var(--c7); } .c8 { background: var(--c8); }
.split { width: 100%; height: 26px; display: block; border-radius: 4px; }
.splitkeys { display: flex; flex-wrap: wrap; gap: 2px 20px; margin: 10px 0 0; font-size: 14px; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 3px 14px 3px 0; vertical-align: top; }
thead th { color: var(--muted); font-weight: 500; }
tbody tr { border-top: 1px solid var(--line); }
th.num, td.num { text-align: right; white-space: nowrap; }
td.text { overflow-wrap: anywhere; }
tr.warning td { color: var(--warn); }
.scroll { overflow-x: auto; }
.scroll.tall { max-height: 420px; overflow-y: auto; }
.confusion { font-size: 12.5px; }
.confusion th, .confusion td { padding: 2px 5px; text-align: right; white-space: nowrap; }
.confusion tbody tr { border: 0; }
.confusion td { border: 1px solid var(--card); min-width: 28px; }
.confusion thead th { vertical-align: bottom; font-weight: 500; }
.confusion th[scope=row] { font-weight: 500; color: var(--muted); padding-right: 8px; position: sticky; left: 0;
  background: var(--card); }
.confusion td.right { background: rgb(var(--right) / var(--a)); }
.confusion td.wrong { background: rgb(var(--wrong) / var(--a)); }
.confusion td.right, .confusion td.wrong { color: #000; }
.confusion td.lw { color: var(--on-light); } .confusion td.dw { color: var(--on-dark); }
.confusion td.lw.dw { color: #fff; }
.confusion.roomy { font-size: 15px; } .confusion.roomy th, .confusion.roomy td { padding: 6px 12px; }
.confusion td.zero { color: var(--muted); }
.confusion.dense { font-size: 11px; } .confusion.dense td { min-width: 0; }
.confusion.dense th, .confusion.dense td { padding: 1px 2px; }
.confusion .rate { color: var(--muted); padding-left: 8px; }
.confusion.tilt thead th span { writing-mode: vertical-rl; transform: rotate(180deg); }
.swatch { display: inline-block; width: 10px; height: 10px; border-radius: 2px; }
.swatch.right { background: rgb(var(--right)); } .swatch.wrong { background: rgb(var(--wrong)); }
.heat { flex: 1 1 320px; max-width: 640px; display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 4px 8px; color: var(--muted); font-size: 12px; }
.heat img { width: 100%; height: auto; image-rendering: pixelated; border: 1px solid var(--line); }
.heat .side { writing-mode: vertical-rl; transform: rotate(180deg); text-align: center; }
.heat .below { grid-column: 2; text-align: center; }
.halves { display: flex; align-items: flex-start; flex-wrap: wrap; gap: 0 40px; }
.halves > * { min-width: 0; max-width: 100%; overflow-x: auto; }
.filters { display: flex; flex-wrap: wrap; gap: 5px; }
.filters img { image-rendering: pixelated; border: 1px solid var(--line); }
.pictures { display: flex; flex-wrap: wrap; gap: 10px 12px; }
.pictures h3 { flex-basis: 100%; margin: 6px 0 -4px; }
.pictures figure { width: min-content; min-width: 64px; } .pictures img { image-rendering: pixelated; border: 1px solid var(--line); display: block; }
.pictures figcaption { display: block; font-size: 11.5px; line-height: 1.3; color: var(--muted); margin: 3px 0 0; overflow-wrap: anywhere; min-width: 96px; }
details > summary { cursor: pointer; }
section > details > summary { font-size: 16px; font-weight: 600; }
pre { font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", Consolas, monospace; overflow-x: auto; margin: 10px 0 0; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; font-size: 14px; }
.facts dt { color: var(--muted); } .facts dd { margin: 0; overflow-wrap: anywhere; }
footer { color: var(--muted); font-size: 13px; }
.confusion td, .swatch, .tiles, .tip i { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
@media (max-width: 520px) { body { font-size: 14px; } main { padding: 12px 8px 24px; } .card { padding: 12px; }
  .tiles { padding: 0; grid-template-columns: 1fr 1fr; } .tile { padding: 8px 12px; } .tile dd { font-size: 18px; }
  .plot { margin-right: 8px; height: 190px; }
  .confusion { font-size: 11px; } .confusion th, .confusion td { padding: 2px 3px; } .legend { margin-left: 0; } th, td { padding-right: 9px; } }
@media print { :root, :root:not([data-theme=light]) { --page: #fff; --card: #fff; --ink: #000; --muted: #444;
    --line: #ccc; --base: #888; --c1: #0072b2; --c2: #d55e00; --c3: #00795a; --c4: #a8487f; --c5: #7a5c00; --c6: #2f8fc4; --c7: #6a51a3; --c8: #4d5358; --right: 0 114 178;
    --wrong: 213 94 0; --on-light: #fff; --on-dark: #000; --warn: #9a4300; color-scheme: light; }
  body { font-size: 12px; } main { max-width: none; padding: 0; } header button, nav, .tip, .cursor { display: none; }
  .card { break-inside: avoid; } .card.long { break-inside: auto; }
  .charts { grid-template-columns: 1fr 1fr; } .plot { height: 170px; }
  .scroll, .scroll.tall, .halves > * { max-height: none; overflow: visible; }
  .confusion { font-size: 7.5px; } .confusion.dense { font-size: 5.5px; }
  .confusion th, .confusion td, .confusion.dense th, .confusion.dense td { padding: 1px; } .confusion td { min-width: 0; } pre { white-space: pre-wrap; } }
)css";
}

std::string_view report_script() {
  return R"js(
"use strict";
(() => {
  const root = document.documentElement, button = document.querySelector("header button");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const current = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const name = () => { button.textContent = current() === "dark" ? "light" : "dark"; };
  button.hidden = false;
  name();
  dark.addEventListener("change", name);
  button.addEventListener("click", () => { root.dataset.theme = current() === "dark" ? "light" : "dark"; name(); });
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => { d.open = true; }));

  const number = (v, digits) => v.toLocaleString("en-US", { maximumSignificantDigits: digits });
  const nearest = (xs, ys, x) => {
    let best = -1;
    for (let i = 0; i < xs.length; ++i) {
      if (ys[i] !== null && (best < 0 || Math.abs(xs[i] - x) <= Math.abs(xs[best] - x))) best = i;
    }
    return best;
  };
  for (const plot of document.querySelectorAll(".plot")) {
    const low = +plot.dataset.low, high = +plot.dataset.high, epoch = +plot.dataset.epoch;
    const x = plot.dataset.x || "step", scale = plot.dataset.log === "1" ? Math.log : v => v;
    const spans = scale(high) - scale(low), value_at = s => plot.dataset.log === "1" ? low * Math.exp(s * spans) : low + s * spans;
    let lines = null, names = null, cursor = null, tip = null;
    const hide = () => { if (tip) { tip.remove(); cursor.remove(); tip = cursor = null; } };
    plot.addEventListener("pointerleave", hide);
    plot.addEventListener("pointermove", event => {
      lines = lines || JSON.parse(plot.dataset.lines);
      names = names || plot.dataset.names.split("\n");
      const box = plot.getBoundingClientRect(), at = value_at((event.clientX - box.left) / box.width);
      const main = lines[0], step = main.x[nearest(main.x, main.y, at)];
      const share = (scale(step) - scale(low)) / spans;
      if (!tip) {
        cursor = plot.appendChild(document.createElement("div"));
        cursor.className = "cursor";
        tip = plot.appendChild(document.createElement("div"));
        tip.className = "tip";
      }
      cursor.style.left = share * 100 + "%";
      tip.textContent = x + " " + number(step, x === "step" ? 12 : 4) + (epoch > 0 ? ", epoch " + number(step / epoch, 4) : "");
      lines.forEach((line, k) => {
        const i = nearest(line.x, line.y, step), row = tip.appendChild(document.createElement("div"));
        row.appendChild(document.createElement("i")).className = "c" + line.c;
        const value = plot.dataset.percent === "1" ? number(line.y[i] * 100, 4) + " %" : number(line.y[i], 5);
        row.append(names[k] + " " + value + (line.x[i] === step ? "" : " (" + x + " " + number(line.x[i], x === "step" ? 12 : 4) + ")"));
      });
      tip.style.left = share < 0.5 ? share * 100 + "%" : "auto";
      tip.style.right = share < 0.5 ? "auto" : (1 - share) * 100 + "%";
      tip.style.margin = "0 8px";
    });
  }
})();
)js";
}

}  // namespace lockstep
