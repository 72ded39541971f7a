"""The page where users enter their own credentials: it shows names and states, never a value."""

from collections.abc import Collection
from dataclasses import dataclass, field
from importlib.resources import files
from types import MappingProxyType
from urllib.parse import parse_qsl

from gateway.domain.errors import UsageError
from gateway.domain.links import Link, RequestedCredential
from gateway.domain.policies.tools import SHORTEST_INJECTED
from gateway.protocol.html import page_headers, templates

LONGEST_FORM = 128 * 1024
MOST_ITEMS = 32
COOKIE = "gateway_connect"

_PAGES = templates("gateway.protocol")
STYLE = files("gateway.protocol").joinpath("pages/connect.css").read_bytes()

HEADERS = page_headers("style", referrer="no-referrer")

_TEXTS = MappingProxyType(
    {
        "en": {
            "lang": "en",
            "title": "Connect your accounts",
            "about": "For the user",
            "stop": ".",
            "promise": "What you enter is encrypted and used for your calls alone. "
            "Nobody can see it again, not even here.",
            "is_set": "connected",
            "is_missing": "not connected",
            "value": "Key or token",
            "save": "Save",
            "replace": "Replace",
            "remove": "Remove",
            "optional": "(may stay empty)",
            "fine": "This link works until 15 minutes after it was made, and in one browser only.",
            "ended": "This link has ended, or was used already. Ask for a new one.",
            "saved": "{name} is connected.",
            "removed": "{name} was removed. Calls may use it for a short while yet.",
            "away": "It could not be saved just now. Try again in a moment.",
            "bad": "{name} was not saved: a field is empty or cannot be used.",
            "short": "{name} was not saved: a value has fewer than {shortest} characters, and "
            "could not be kept out of answers.",
            "gone": "{name} is not there any more.",
        },
        "zh": {
            "lang": "zh-Hans",
            "title": "连接您的账户",
            "about": "用户",
            "stop": "。",
            "promise": "您输入的内容会被加密，只用于您自己的调用，此后没有人能再次看到它。",
            "is_set": "已连接",
            "is_missing": "未连接",
            "value": "密钥或令牌",
            "save": "保存",
            "replace": "替换",
            "remove": "移除",
            "optional": "（可留空）",
            "fine": "此链接自创建起 15 分钟内有效，且仅限一个浏览器使用。",
            "ended": "此链接已失效或已被使用，请索取新的链接。",
            "saved": "{name} 已连接。",
            "removed": "{name} 已移除。短时间内仍可能有调用使用它。",
            "away": "暂时无法保存，请稍后再试。",
            "bad": "{name} 未保存：有字段为空或无法使用。",
            "short": "{name} 未保存：有值少于 {shortest} 个字符，无法防止它出现在返回结果中。",
            "gone": "{name} 已不存在。",
        },
    }
)


@dataclass(frozen=True, slots=True)
class Form:
    """What a user sent: to `remove` a credential, or the `fields` of one to save."""

    wanted: RequestedCredential
    remove: bool
    fields: dict[str, str] = field(repr=False)


def language(accepted: str) -> str:
    """Return the first language of an Accept-Language header that the page has; else English."""
    ranked = []
    for place, item in enumerate(accepted.split(",")[:20]):
        tag, _, said = item.partition(";")
        quality = said.strip().removeprefix("q=")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            weight = 0.0
        ranked.append((-weight, place, tag.strip().lower().partition("-")[0]))
    return next((tag for weight, _, tag in sorted(ranked) if weight and tag in _TEXTS), "en")


def sentence(lang: str, key: str, name: str = "") -> str:
    return _TEXTS[lang][key].format(name=name, shortest=SHORTEST_INJECTED)


def page(
    lang: str,
    link: Link | None,
    present: Collection[str] = (),
    *,
    said: str = "",
    problem: str = "",
) -> bytes:
    """Return the page. `link` None: the link is not valid. `present`: names that have a value."""
    template = _PAGES.get_template("connect.html")
    shown = template.render(t=_TEXTS[lang], link=link, present=present, said=said, problem=problem)
    return shown.encode()


def read_form(body: bytes, link: Link) -> Form:
    """Return what was sent; raise UsageError if the page does not send that for one of the link's
    credentials."""
    try:
        sent = dict(
            parse_qsl(
                body.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=MOST_ITEMS,
            )
        )
    except ValueError:
        raise UsageError("This is not what the page sends.") from None
    wanted = next((one for one in link.wanted if one.name == sent.get("name")), None)
    action = sent.get("action", "save")
    if wanted is None or action not in ("save", "remove"):
        raise UsageError("This is not what the page sends.")
    fields = {name: sent.get(f"field.{name}", "") for name in wanted.fields}
    given = {name: value for name, value in fields.items() if value}
    return Form(wanted, action == "remove", given)
