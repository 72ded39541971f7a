"""The console's texts in Chinese, by what they are in English."""

from types import MappingProxyType

CHINESE = MappingProxyType(
    {
        "Console": "控制台",
        "Overview": "概览",
        "Keys": "密钥",
        "Policies": "策略",
        "Credentials": "凭据",
        "Users": "用户",
        "Audit": "审计",
        "Sign in": "登录",
        "Sign out": "退出",
        "Key": "密钥",
        "Skip to content": "跳到正文",
        "Main menu": "主菜单",
        "Sign in with a key that has gateway/admin, gateway/read or another power.": (
            "请使用具有 gateway/admin、gateway/read 或其他权限的密钥登录。"
        ),
        "This key cannot sign in.": "此密钥无法登录。",
        "This key is valid, but opens no page here: it lacks a scope such as gateway/read. Have one "
        "added to it, or sign in with another key.": (
            "此密钥有效，但无权打开任何页面：它缺少 gateway/read 之类的范围。请为其添加范围，或使用其他密钥登录。"
        ),
        "You were signed out, or your key has ended. Sign in again.": "您已退出，或密钥已失效，请重新登录。",
        "Make the first one on the gateway's machine:": "请在网关所在机器上创建第一个密钥：",
        "There is nothing at this address.": "此地址没有内容。",
        "There is nothing here": "此处没有内容",
        "Something is not as it has to be": "有内容不符合要求",
        "This cannot be done as things are": "当前状态下无法执行",
        "Somebody else changed this meanwhile": "期间已被他人更改",
        "Your key may not do this": "您的密钥无权执行此操作",
        "This form was not taken": "未接受此表单",
        "Wait a moment, then try again": "请稍候再试",
        "Redis does not answer": "Redis 没有应答",
        "This was refused": "已被拒绝",
        "This form was not made for this session: load it again.": "此表单不属于当前会话：请重新加载页面。",
        "A form of another site is not taken.": "不接受其他网站的表单。",
        "active": "有效",
        "expired": "已过期",
        "expiring": "即将到期",
        "canary": "诱饵",
        "misconfigured": "配置有误",
        "unusable": "不可用",
        "ok": "正常",
        "broken": "已损坏",
        "Scope": "范围",
        "12 letters and digits": "12 位字母和数字",
        "Expires within": "到期时限",
        "days": "天内",
        "The secret before": "之前的密钥",
        "Revoked": "吊销时间",
        "Since": "自",
        "Tool": "工具",
        "Table, may scroll sideways": "表格，可横向滚动",
        "Model": "模型",
        "Choose at least one key first.": "请先选择至少一个密钥。",
        "The id of a key is the 12 letters and digits behind agk_live_.": (
            "密钥 ID 是 agk_live_ 之后的 12 位字母和数字。"
        ),
        "If this page is loaded again, the key gets another secret.": (
            "若重新加载此页面，密钥会换成另一个值。"
        ),
        "A new secret makes this key active again.": "新的密钥值会使此密钥重新有效。",
        "Choose": "选择",
        "if it has one": "如果有",
        "Yes, remove it": "确定移除",
        "Really? Its values are gone for good, and calls that need it are refused.": (
            "确定吗？其值将永久删除，需要它的调用会被拒绝。"
        ),
        "Back": "返回",
        "Requests": "请求",
        "Refused": "拒绝",
        "Failed": "失败",
        "Tokens": "Token 数",
        "last 24 hours": "最近 24 小时",
        "by hour": "按小时",
        "by day": "按天",
        "at most": "最高",
        "Time to the first byte": "首字节时间",
        "half took at most": "半数不超过",
        "95 of 100": "百分之 95",
        "99 of 100": "百分之 99",
        "To the first byte": "至首字节",
        "of it, to be let in": "其中准入",
        "Refusals by reason": "按原因统计的拒绝",
        "Top consumers": "主要使用方",
        "Top agents and models": "主要智能体与模型",
        "Workers": "工作进程",
        "Nothing yet.": "暂无数据。",
        "Health": "健康状况",
        "ready": "就绪",
        "not ready": "未就绪",
        "Vault last answered": "保险库最近响应",
        "seconds ago": "秒前",
        "Policies in force": "生效的策略",
        "Consumer": "使用方",
        "State": "状态",
        "any": "任意",
        "Find": "查找",
        "Scopes": "范围",
        "Plan": "套餐",
        "Expires": "到期",
        "never": "永不",
        "Last four": "末四位",
        "Next page": "下一页",
        "No key matches. Make one above, or look for another consumer.": (
            "没有匹配的密钥。请在上方创建，或查找其他使用方。"
        ),
        "Make a key": "创建密钥",
        "Scopes, separated by blanks": "范围，以空格分隔",
        "Label": "标签",
        "such as 30d": "例如 30d",
        "A decoy: its use is refused and told": "诱饵：使用会被拒绝并报告",
        "Copy": "复制",
        "Copied": "已复制",
        "This is shown once. Keep it where it belongs.": "仅显示一次，请妥善保存。",
        "Revoke": "吊销",
        "Disable": "停用",
        "Enable": "启用",
        "Rotate": "轮换",
        "Grace of the old secret": "旧密钥的宽限期",
        "Change": "修改",
        "changed": "已修改",
        "The key was changed meanwhile, and is shown as it is now. Listed is what it has where "
        "your form says otherwise: put in what is to stay, then save it again.": (
            "密钥期间已被他人更改，页面显示其当前内容。下面列出与您的表单不同的当前值：请填入要保留的内容，然后重新保存。"
        ),
        "Contain: revoke, and see what it reached": "遏制：吊销并查看其访问范围",
        "What it reached in the last 7 days": "最近 7 天访问的对象",
        "Yes, revoke it for good": "确定，永久吊销",
        "Users it may act for": "可代表的用户",
        "Limits": "限额",
        "Made": "创建",
        "by": "由",
        "Usage": "用量",
        "Problems of the files: the policies before them stay in force": (
            "策略文件有问题：仍使用之前的策略"
        ),
        "Name": "名称",
        "Value": "值",
        "Where it is written": "位置",
        "Explain": "解释",
        "What would happen to a request, and why": "一个请求会怎样，为什么",
        "Method": "方法",
        "Key id": "密钥 ID",
        "User": "用户",
        "It would go to": "会转发到",
        "The gateway itself would answer it": "由网关自己应答",
        "A rule that is tried out would refuse it": "试行中的规则会拒绝它",
        "It would be refused": "会被拒绝",
        "Read the files now": "立即重新读取",
        "The files were read just now and are in force.": "刚刚读取了文件，现已生效。",
        "The files were read just now: they say what was in force already.": (
            "刚刚读取了文件：内容与已生效的策略相同。"
        ),
        "The files were read just now: they cannot be used.": "刚刚读取了文件：无法使用。",
        "Type": "类型",
        "Version": "版本",
        "Used by": "使用者",
        "Keep a credential": "保存凭据",
        "Save": "保存",
        "Remove": "移除",
        "Values are never shown again, not even here.": "值不会再次显示，本页也不例外。",
        "Last error of the vault": "保险库最近的错误",
        "Nobody has brought credentials yet: make a link for somebody.": (
            "还没有用户绑定凭据：请为用户创建链接。"
        ),
        "Make a link for a user": "为用户创建链接",
        "Credentials that the user is asked for": "需要用户提供的凭据",
        "Link open for": "链接剩余",
        "min": "分钟",
        "Try again": "重试",
        "Send this to that user alone; it works once, for 15 minutes:": (
            "仅发送给该用户；15 分钟内有效且只能使用一次："
        ),
        "Event": "事件",
        "Decision": "结果",
        "allowed": "允许",
        "denied": "拒绝",
        "shadow": "试行",
        "Time": "时间",
        "Who": "谁",
        "Code": "代码",
        "Older": "更早",
        "Follow live": "实时跟踪",
        "Pause": "暂停",
        "Live: new records come first.": "实时：新记录显示在最前。",
        "Paused. What happens meanwhile is shown when you go on.": "已暂停。继续后会显示期间的记录。",
        "Cut off: trying again.": "连接中断：正在重试。",
        "The live view has ended. Load the page again.": "实时视图已结束，请重新加载页面。",
        "Verify": "校验",
        "Export as JSON lines": "导出为 JSON 行",
        "Nothing was changed.": "记录未被更改。",
        "Records as they were written": "与写入时一致的记录",
        "chains": "链",
        "without an end yet": "尚未结束",
        "Records were changed, dropped or made up, or are not signed.": (
            "有记录被更改、删除、伪造，或没有签名。"
        ),
        "Acts on keys that nobody signed": "未签名的密钥操作",
        "The first": "第一条",
        "Only a part was looked at: 'gateway audit verify' looks at all.": (
            "只检查了一部分：gateway audit verify 会检查全部。"
        ),
        "There is no master key: this finds mistakes, but nobody who knows how to forge.": (
            "没有主密钥：只能发现错误，无法发现懂得伪造的人。"
        ),
        "A chain that was cut at its end is found against an anchor alone: 'gateway audit anchor'.": (
            "末尾被截断的链只能通过锚点发现：gateway audit anchor。"
        ),
        "No record matches among the 10,000 that were looked at: go on with 'Older'.": (
            "查看的 10,000 条记录中没有匹配项：点击“更早”继续查找。"
        ),
        "No record matches.": "没有匹配的记录。",
        "Count": "数量",
        "Credential": "凭据",
        "Live, every 5 seconds": "实时，每 5 秒更新",
        "No answer: these are the last figures": "没有应答：显示的是最后的数据",
        "All is well: ready, policies as written, vault in reach.": (
            "一切正常：已就绪，策略与文件一致，保险库可达。"
        ),
        "This worker does not serve: it lacks": "此工作进程未提供服务，缺少：",
        "Policy files were refused, the set before stays in force": (
            "策略文件被拒绝，仍使用之前的策略"
        ),
        "Tools": "工具",
        "Transport": "传输方式",
        "Isolation": "隔离",
        "Of each user": "每个用户的",
        "Running": "运行中",
        "Calls": "调用",
        "Reflected": "回显",
        "Calls are those of the last 7 days; running: programs in the worker that answered; "
        "reflected: answers that a credential was taken out of.": (
            "调用为最近 7 天；运行中为应答的工作进程内的程序；回显为从中移除了凭据的应答。"
        ),
        "The policies have no tools.": "策略中没有工具。",
        "none was needed yet": "尚未需要",
        "Shared credentials": "共享凭据",
        "none": "无",
        "Has": "已有",
        "Lacks": "缺少",
        "connected": "已连接",
        "not connected": "未连接",
        "Make a link": "创建链接",
        "Where": "位置",
        "Last": "最近",
        "Credentials that its calls used in the last 7 days": "最近 7 天其调用使用的凭据",
        "pulled: whoever held the key has the value": "已拉取：持有密钥者已获得其值",
        "There may be more: at most 20,000 records are looked at, and 500 rows shown. 'gateway audit "
        "export --since 7d' has all that the audit keeps.": (
            "可能还有更多：最多查看 20,000 条记录，显示 500 行。gateway audit export --since 7d 会导出审计保留的全部记录。"
        ),
        "What this key may reach": "此密钥可访问的对象",
        "At this moment nothing of it:": "目前均无法访问：",
        "What it may do": "可执行的操作",
        "Routes": "路由",
        "Credentials put in": "注入的凭据",
        "everything": "全部",
        "Nothing: its scopes open no place of the policies in force.": (
            "无：其范围在生效的策略中不对应任何位置。"
        ),
        "Really? It cannot be undone, and its open streams are cut within two seconds.": (
            "确定吗？此操作无法撤销，其打开的流将在两秒内切断。"
        ),
        "All keys of this page": "本页所有密钥",
        "With the chosen keys": "对所选密钥",
        "All keys of": "所有密钥，属于",
        "Show what it would do": "先显示将执行的操作",
        "revoke": "吊销",
        "disable": "停用",
        "enable": "启用",
        "rotate": "轮换",
        "Several keys": "多个密钥",
        "No replica has acknowledged this: if the primary is lost now, it may be undone. Do it "
        "again once replication is well.": (
            "没有副本确认此操作：若主节点此时丢失，可能会被撤销。请在复制恢复后重做。"
        ),
        "Done:": "已完成：",
        "Nothing has been done yet. This is what would be:": "尚未执行任何操作，将会是：",
        "Outcome": "结果",
        "would revoke": "将吊销",
        "would disable": "将停用",
        "would enable": "将启用",
        "would rotate": "将轮换",
        "revoked": "已吊销",
        "disabled": "已停用",
        "enabled": "已启用",
        "rotated": "已轮换",
        "unchanged": "未改变",
        "deleted": "已删除",
        "version": "版本",
        "Workers, and agents that pull, take it with their next look.": (
            "工作进程和拉取凭据的智能体会在下次查看时更新。"
        ),
        "refused": "已拒绝",
        "No key is left that this is about.": "没有需要处理的密钥。",
        "Yes, do this": "确定执行",
        "There are more keys of this consumer.": "该使用方还有更多密钥。",
        "Show the next ones": "显示后续密钥",
        "The new values are in force, and the old ones have ended: workers and agents that pull "
        "take the change with their next look. End them at the provider too.": (
            "新值已生效，旧值已结束：工作进程和拉取凭据的智能体会在下次查看时更新。请同时在提供方作废旧值。"
        ),
        "Versions": "版本",
        "The one before it": "上一版本",
        "works until": "有效至",
        "has ended": "已结束",
        "Last used": "最近使用",
        "last used": "最近使用",
        "not yet": "尚未",
        "Rotated": "轮换时间",
        "Where it may be sent, by the policies": "按策略可能发送到的位置",
        "Nowhere: no service, model or tool names it. Keys with gateway/credentials may pull it.": (
            "无：没有服务、模型或工具引用它。具有 gateway/credentials 的密钥可以拉取它。"
        ),
        "Keys whose calls used it in the last 7 days": "最近 7 天其调用使用过它的密钥",
        "Revoke the chosen keys: show what it would do": "吊销所选密钥：先显示将执行的操作",
        "Contain: remove it, the user brings another one through a link": (
            "遏制：移除它，用户可通过链接重新提供"
        ),
        "Contain: put a new value in, the old one ends at once": "遏制：设置新值，旧值立即失效",
        "Yes, replace it without grace": "确定，立即替换",
    }
)
