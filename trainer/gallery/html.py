"""The gallery's HTML: an element a function, and a page that needs no other.

Whatever comes from a file or a flag is escaped here, and only here.
"""

import base64
import html
import string


def page(title, parts):
    """Returns a whole HTML document.

    Args:
        title: str.
        parts: list of str, HTML from the other functions of this module.
    """
    return _PAGE.substitute(
        title=html.escape(title), style=_STYLE, body="\n".join(parts)
    )


def header(title, lead):
    """Returns the top of the page: a title, and a sentence below it."""
    return (
        f"<header><h1>{html.escape(title)}</h1>"
        f'<p class="lead">{html.escape(lead)}</p></header>'
    )


def notice(text):
    """Returns a sentence that must not be overlooked."""
    return f'<p class="notice" role="note">{html.escape(text)}</p>'


def tiles(values):
    """Returns a row of figures: a dict of (value, unit) by name."""
    items = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}"
        f"<small>{html.escape(unit)}</small></dd></div>"
        for name, (value, unit) in values.items()
    )
    return f'<dl class="tiles">{items}</dl>'


def section(title, text, *content):
    """Returns a titled part of the page: a text, and HTML below it."""
    return (
        f"<section><h2>{html.escape(title)}</h2>"
        f"<p>{html.escape(text)}</p>{''.join(content)}</section>"
    )


def table(caption, values, emphasised=()):
    """Returns a table of two columns.

    Args:
        caption: str.
        values: dict of anything by name.
        emphasised: names of the rows that stand out.
    """
    rows = "".join(
        f"<tr{_CHANGED if name in emphasised else ''}>"
        f'<th scope="row">{html.escape(str(name))}</th>'
        f"<td>{html.escape(text_of(value))}</td></tr>"
        for name, value in values.items()
    )
    return (
        f'<div class="table"><table><caption>{html.escape(caption)}</caption>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def folded(title, *content):
    """Returns a part that opens when its title is clicked."""
    return (
        f"<details><summary>{html.escape(title)}</summary>"
        f"{''.join(content)}</details>"
    )


def picture(png, alt):
    """Returns a picture as wide as the page."""
    return f'<img class="pixels" src="{_data("png", png)}" {_alt(alt)}>'


def named_rows(rows):
    """Returns pictures below each other, each with its name at its left.

    Args:
        rows: list of (name, the bytes of a PNG, alternative text).
    """
    items = "".join(
        f"<span>{html.escape(name)}</span>{picture(png, alt)}"
        for name, png, alt in rows
    )
    return f'<div class="named-rows">{items}</div>'


def charts(items):
    """Returns charts side by side, or below each other where it is narrow.

    Args:
        items: list of (title, SVG on a light page, SVG on a dark page,
            alternative text).
    """
    figures = "".join(
        f"<figure><figcaption>{html.escape(title)}</figcaption>"
        f"{_chart(light, dark, alt)}</figure>"
        for title, light, dark, alt in items
    )
    return f'<div class="charts">{figures}</div>'


def wide_chart(light, dark, alt):
    """Returns a chart as wide as the page; it scrolls where that is narrow.

    Args:
        light: the bytes of its SVG on a light page.
        dark: on a dark page.
        alt: alternative text.
    """
    return f'<div class="wide">{_chart(light, dark, alt)}</div>'


def _chart(light, dark, alt):
    return (
        '<picture><source media="(prefers-color-scheme: dark)" '
        f'srcset="{_data("svg+xml", dark)}">'
        f'<img class="chart" src="{_data("svg+xml", light)}" {_alt(alt)}>'
        "</picture>"
    )


def footer(text):
    """Returns the foot of the page, a sentence."""
    return f"<footer>{html.escape(text)}</footer>"


def text_of(value):
    """Returns a value as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return str(value)


def _alt(text):
    return f'alt="{html.escape(text)}"'


def _data(kind, content):
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


_CHANGED = ' class="changed"'
_PAGE = string.Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
$body
</main>
</body>
</html>
""")
# At its full width the page is 840 pixels: three of them for each of the 280
# of ten images, and one for each of the grid's.
_STYLE = """
:root {
  --page: #fcfcfa; --ink: #1d1d1b; --soft: #5c5b56; --line: #e4e3dd;
  --card: #f4f3ee; --notice: #fdf1d8; --notice-ink: #6a4400;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #191918; --ink: #ecebe6; --soft: #a9a8a0; --line: #34342f;
    --card: #232321; --notice: #3a2e12; --notice-ink: #f3d48c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
main { max-width: 888px; margin: 0 auto; padding: 56px 24px 72px; }
h1 {
  margin: 0; font-size: 1.9rem; line-height: 1.2; font-weight: 650;
  letter-spacing: -0.015em; overflow-wrap: anywhere;
}
h2 { margin: 0; font-size: 1.2rem; font-weight: 650; }
.lead { margin: 10px 0 0; color: var(--soft); font-size: 1.08rem; }
.notice {
  margin: 24px 0 0; padding: 12px 16px; border-radius: 8px;
  background: var(--notice); color: var(--notice-ink);
}
.tiles {
  display: grid; gap: 12px; margin: 32px 0 0;
  grid-template-columns: repeat(auto-fit, minmax(150px, 1fr));
}
.tiles div { padding: 14px 16px; border-radius: 8px; background: var(--card); }
.tiles dt { color: var(--soft); font-size: 0.85rem; }
.tiles dd { margin: 2px 0 0; font-size: 1.6rem; font-weight: 600; }
.tiles small {
  margin-left: 6px; color: var(--soft); font-size: 0.85rem; font-weight: 400;
}
section, details { margin-top: 56px; }
section p { max-width: 68ch; margin: 6px 0 18px; color: var(--soft); }
.pixels {
  display: block; width: 100%; height: auto; border-radius: 4px;
  background: #000;
}
@media (min-width: 888px) { .pixels { image-rendering: pixelated; } }
.named-rows {
  display: grid; grid-template-columns: max-content 1fr; column-gap: 14px;
  row-gap: 2px; align-items: center;
}
.named-rows span { color: var(--soft); font-size: 0.85rem; text-align: right; }
.named-rows .pixels { border-radius: 0; }
.charts {
  display: grid; gap: 24px;
  grid-template-columns: repeat(auto-fit, minmax(250px, 1fr));
}
figure { margin: 0; }
figcaption { margin-bottom: 6px; font-size: 0.9rem; font-weight: 600; }
.chart { display: block; width: 100%; height: auto; }
.wide { overflow-x: auto; }
.wide .chart { min-width: 680px; }
.table { overflow-x: auto; margin-top: 16px; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
caption {
  padding: 8px 0; text-align: left; font-weight: 600; font-size: 0.95rem;
}
th, td {
  padding: 6px 16px 6px 0; border-top: 1px solid var(--line);
  text-align: left; vertical-align: top; font-weight: 400;
}
th { width: 15rem; color: var(--soft); }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.changed th, .changed td { color: var(--ink); font-weight: 650; }
footer { margin-top: 56px; color: var(--soft); font-size: 0.85rem; }
summary { cursor: pointer; font-size: 1.2rem; font-weight: 650; }
@media (max-width: 600px) {
  main { padding: 32px 16px 48px; }
  section, details { margin-top: 44px; }
  .named-rows { grid-template-columns: 1fr; row-gap: 4px; }
  .named-rows span { text-align: left; }
  th { width: 50%; }
}
"""
