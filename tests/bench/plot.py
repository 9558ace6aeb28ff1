# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table as bars: an SVG, made by hand."""
from xml.sax.saxutils import escape

WIDTH, LEFT, BAR, ROW = 1100, 330, 300, 18
PANELS = (('thousand commands a second', 'iops', 1e-3), ('median latency, us', 'p50', 1e-3))
COLOURS = {'null': '#4c78a8', 'memory': '#54a24b', 'file': '#e45756', 'fio': '#9d9d9d'}


def draw(summary):
    rows = [(name, row) for name, row in list(summary['cases'].items()) + list(summary['fio'].items()) if 'iops' in row]
    height = 60 + ROW * len(rows)
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">' % (
        WIDTH, height), '<rect width="100%" height="100%" fill="white"/>']
    for panel, (title, key, scale) in enumerate(PANELS):
        x = LEFT + panel * (BAR + 90)
        largest = max((row[key]['max'] for _, row in rows), default=1) or 1
        out.append('<text x="%d" y="20" font-weight="bold">%s</text>' % (x, escape(title)))
        for i, (name, row) in enumerate(rows):
            y = 34 + i * ROW
            value = row[key]
            if panel == 0:
                out.append('<text x="%d" y="%d" text-anchor="end">%s</text>' % (LEFT - 8, y + 11, escape(name)))
            length = BAR * value['median'] / largest
            out.append('<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>' % (
                x, y, length, ROW - 6, COLOURS.get(name.split()[0], '#777777')))
            # From the worst to the best run.
            out.append('<path d="M%.1f %dH%.1f" stroke="black"/>' % (
                x + BAR * value['min'] / largest, y + (ROW - 6) / 2, x + BAR * value['max'] / largest))
            out.append('<text x="%.1f" y="%d">%.1f</text>' % (
                x + BAR * value['max'] / largest + 4, y + 11, value['median'] * scale))
    machine = summary['machine']
    out.append('<text x="10" y="%d" fill="#555">%s, %d processors, Linux %s; bars are medians, lines go from the worst to the '
               'best of %d runs</text>' % (height - 8, escape(machine['processor']), machine['processors'],
                                           escape(machine['kernel']), summary['runs']))
    out.append('</svg>\n')
    return '\n'.join(out)
