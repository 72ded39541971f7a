"""The steps of an explanation, in Chinese."""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.services.admission.steps import About, Found

EXPLAINED: Mapping[str, str] = MappingProxyType(
    {
        About.REQUEST: "请求",
        About.PLACE: "位置",
        About.ROUTE: "路由",
        About.AGENT: "智能体",
        About.SERVICE: "服务",
        About.MODEL: "模型",
        About.TOOL: "工具",
        About.ACTION: "操作",
        About.CREDENTIALS: "凭据",
        About.KEY: "密钥",
        About.RECORD: "记录",
        About.SCOPE: "范围",
        About.TRIED: "试行",
        About.USER: "用户",
        About.LIMITS: "限额",
        Found.WELL_FORMED: "格式正确",
        Found.WRITTEN: "{name}，定义于 {place}",
        Found.NO_AGENT: "策略在此地址没有定义",
        Found.ABSENT: "策略中没有 {name}",
        Found.MEANT: "策略中没有 {name}，是否指 {meant}？",
        Found.INJECTED: "{names}",
        Found.NONE_INJECTED: "调用中不注入凭据",
        Found.UNKNOWN: "此处无法得知它们是否可用：{problem}",
        Found.PUBLIC: "公开：无需密钥，附带的密钥也不会读取",
        Found.EVERY_PATH: "未列出路由：任何路径均可，操作为 {action}",
        Found.ACTION: "操作为 {action}",
        Found.NOT_ENFORCED: "操作为 {action}，未强制执行：有该智能体的任一范围即可",
        Found.NO_ROUTE: "没有接受此路径和方法的路由",
        Found.NO_RECORD: "此 ID 没有可用的记录",
        Found.OF: "属于 {consumer}，{state}",
        Found.OF_NOBODY: "没有使用方，{state}",
        Found.SENSELESS: "{problem}",
        Found.GRANTED: "{scope} 由 {by} 授予",
        Found.NOT_GRANTED: "{scope} 未授予",
        Found.MAY_ACT_FOR: "{user}：密钥可代表此用户",
        Found.NO_LIMITS: "无",
        Found.LEFT: "{limit}：剩余 {left}，共 {most}，{reset} 秒后恢复全额",
        Found.COUNTED: "{limit}：仅计数，因为套餐未强制执行",
        Found.EXCEEDED: "{limit}：仅计数，因为套餐未强制执行，现已超出",
        Found.HEALTH: "网关是否存活并提供服务",
        Found.CONNECT: "用户的一次性链接：它代替密钥",
        Found.PULL: "可拉取的凭据",
        Found.CATALOGUE: "密钥可用的模型列表",
        Found.ONE_MODEL: "模型 {model} 的信息",
        Found.NO_MODEL: "没有模型",
        Found.ADMIN: "管理 API，位于管理监听地址；数据监听地址上没有",
        Found.METRICS: "指标，位于管理监听地址；数据监听地址上没有；在环回地址上无需密钥",
        Found.CONSOLE: "控制台，位于管理监听地址；数据监听地址上没有：其页面会要求密钥",
    }
)
