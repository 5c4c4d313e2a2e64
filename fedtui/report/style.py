"""The page's one style sheet: light and dark, readable in print, no font from elsewhere."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1f24; --soft: #5b6470; --paper: #ffffff;
  --rule: #d5dae1; --mark: #0b5cad; --warn: #8a3b00;
  --s0: #0b5cad; --s1: #b35900; --s2: #007a5a; --s3: #a3265f; --s4: #5b3fa8; --s5: #6b6300;
  --s6: #00708a; --s7: #555b63; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a3acb8; --paper: #15181d;
  --rule: #363d47; --mark: #6cb2ff; --warn: #ffb27a;
  --s0: #6cb2ff; --s1: #ffa64d; --s2: #3fd1a5; --s3: #ff8fc0; --s4: #b9a2ff; --s5: #d6cd4f;
  --s6: #5fd3ee; --s7: #b4bcc6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1.25rem 4rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; border-top: 1px solid var(--rule);
  padding-top: 1.25rem; }
p, ul { max-width: 44rem; }
.lead { font-size: 1.15rem; border-left: 4px solid var(--mark); padding-left: .9rem; }
.soft, caption, footer { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0;
  border-bottom: 1px solid var(--rule); }
thead th { color: var(--soft); font-weight: 600; }
.worse { color: var(--warn); font-weight: 600; }
code { font-family: ui-monospace, "Cascadia Mono", Menlo, monospace; font-size: .9em;
  overflow-wrap: anywhere; }
svg { width: 100%; height: auto; display: block; margin: .5rem 0; }
svg text { fill: var(--ink); font-size: 13px; } svg .muted { fill: var(--soft); }
.grid { stroke: var(--rule); stroke-width: 1; } .reference { stroke: var(--soft);
  stroke-width: 1.5; stroke-dasharray: 5 4; }
.interval { stroke: var(--mark); stroke-width: 2; } .mark { fill: var(--mark); }
.line { fill: none; stroke-width: 2.2; }
.line.s0 { stroke: var(--s0); stroke-width: 3.2; } .line.s1 { stroke: var(--s1); }
.line.s2 { stroke: var(--s2); } .line.s3 { stroke: var(--s3); } .line.s4 { stroke: var(--s4); }
.line.s5 { stroke: var(--s5); } .line.s6 { stroke: var(--s6); } .line.s7 { stroke: var(--s7); }
svg .s0.name { fill: var(--s0); } svg .s1.name { fill: var(--s1); }
svg .s2.name { fill: var(--s2); } svg .s3.name { fill: var(--s3); }
svg .s4.name { fill: var(--s4); } svg .s5.name { fill: var(--s5); }
svg .s6.name { fill: var(--s6); } svg .s7.name { fill: var(--s7); }
@media print { body { max-width: none; padding: 0; } h2 { break-after: avoid; } }
"""
