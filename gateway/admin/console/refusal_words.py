"""The commonest refusals in Chinese; others are shown in English, as the API words them."""

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from gateway.domain.errors import DENIALS, Code
from gateway.services.keys import issue, lifecycle
from gateway.services.keys.find import NO_KEY

# By the English sentence, with placeholders in braces.
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        NO_KEY: "没有密钥 {id}：请在密钥列表中查找。",
        "There is no credential '{name}'.": "没有凭据 {name}。",
        "There is no credential '{name}'. Did you mean '{meant}'?": (
            "没有凭据 {name}，是否指 {meant}？"
        ),
        "The policies have no tools '{name}'.": "策略中没有工具 {name}。",
        "This needs one of {scopes}.": "需要以下范围之一：{scopes}。",
        "Your key may not look at tools: use the users' page.": (
            "您的密钥无权查看工具：请使用用户页面。"
        ),
        "Keys with power over the gateway are changed with gateway/admin alone.": (
            "对网关有管理权限的密钥只能由 gateway/admin 更改。"
        ),
        lifecycle.REFUSALS["revoked"]: "密钥 {id} 已吊销：轮换它会生成新的密钥值并使其重新有效。",
        lifecycle.REFUSALS[
            "canary"
        ]: "密钥 {id} 是诱饵，且始终是诱饵：可用 gateway keys delete {id} 删除。",
        lifecycle.REFUSALS["no_secret"]: (
            "密钥 {id} 的记录没有哈希，任何密钥值都无法使用它：请用 gateway keys delete {id} 删除，再创建新密钥。"
        ),
        issue.REFUSALS["no_secret"]: (
            "密钥 {id} 的记录没有哈希，没有可轮换的密钥值：请用 gateway keys delete {id} 删除，再创建新密钥。"
        ),
        issue.REFUSALS["different"]: "此表单已用于另一请求：请重新加载页面后再试。",
        issue.REFUSALS["changed"]: "此表单首次提交后，密钥 {id} 已被更改：请查看其当前状态。",
        issue.REFUSALS["gone"]: "由此表单创建的密钥 {id} 已被删除：请重新加载页面。",
        lifecycle.CHANGED: "密钥期间已被他人更改：请重新查看。",
        "Somebody else has changed the credential '{name}' at this moment: look at it, and do it "
        "again if it is still wanted.": "凭据 {name} 刚刚被他人更改：请查看，如仍需要请重做。",
        "The audit is being verified already: ask again in some seconds.": (
            "审计正在校验中：请几秒后再试。"
        ),
        "Redis could not answer: {reason}": "Redis 无法应答：{reason}",
        "Redis is full and refuses writes: raise its maxmemory or delete what is not needed.": (
            "Redis 已满，拒绝写入：请调大 maxmemory，或删除不需要的内容。"
        ),
        DENIALS[Code.BUSY].message: "正在处理的请求过多：请稍候再试。",
        "{text} is not a scope: write KIND/NAME or KIND/NAME:ACTION with a kind of {kinds}, such as "
        "'agents/support:chat'.": "{text} 不是范围：请写作 KIND/NAME 或 KIND/NAME:ACTION，KIND 为 {kinds}。",
        "{text} would grant nothing: power over the gateway is named in full, with one of {powers}, "
        "such as 'gateway/admin'.": "{text} 不授予任何权限：对网关的权限须写全名，为 {powers} 之一。",
        "{text} is neither a duration such as 30d, nor a date such as 2027-01-31, nor Unix seconds": (
            "{text} 既不是 30d 之类的时长，也不是 2027-01-31 之类的日期，也不是 Unix 秒数"
        ),
        "{text} is not a duration such as 500ms, 30s, 10m, 24h or 30d": (
            "{text} 不是 500ms、30s、10m、24h 或 30d 之类的时长"
        ),
        "{text} is not a user id: use letters, digits and ._@-, or '*' for any user.": (
            "{text} 不是用户 ID：请使用字母、数字和 ._@-，或以 * 表示任意用户。"
        ),
    }
)


def in_chinese(text: str) -> str:
    """Translate a refusal; empty if it is not known."""
    for pattern, chinese in _patterns():
        if found := pattern.fullmatch(text):
            return chinese.format(**found.groupdict())
    return ""


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((_pattern(english), chinese) for english, chinese in REFUSED.items())


def _pattern(english: str) -> re.Pattern[str]:
    """Turn a sentence with placeholders into a pattern; a repeated placeholder is the same text."""
    literal, *rest = re.split(r"\{(\w+)\}", english)
    made, seen = re.escape(literal), set[str]()
    for name, literal in zip(rest[::2], rest[1::2], strict=True):
        made += f"(?P={name})" if name in seen else f"(?P<{name}>.+?)"
        made += re.escape(literal)
        seen.add(name)
    return re.compile(made, re.DOTALL)
