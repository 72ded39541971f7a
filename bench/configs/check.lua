-- The gateway's admission in Lua, as good as nginx can have it: what is cached of a key is kept in
-- the worker and sent along with the gateway's own script, one round trip to Redis a request. Only
-- what the bench needs of it: Authorization: Bearer, the current secret, one agent, limits of plans.
local redis = require "nginx.redis"
local lrucache = require "resty.lrucache"
local settings = require "settings"
local ffi = require "ffi"

ffi.cdef [[
const void *EVP_sha256(void);
unsigned char *HMAC(const void *kind, const void *key, int key_size, const unsigned char *data,
                    size_t size, unsigned char *out, unsigned int *out_size);
unsigned char *SHA256(const unsigned char *data, size_t size, unsigned char *out);
]]

local DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
local COMPARED, ATTEMPTS, TOUCH_SECONDS = 10, 4, 60
local WIDTHS = {d = 86400, month = 30 * 86400}
local NAMES = {rate = "rate", d = "day", month = "month"}
local cache = assert(lrucache.new(65536))
local out = ffi.new "unsigned char[32]"

local function hex(bytes)
  return (bytes:gsub(".", function(c) return string.format("%02x", c:byte()) end))
end

local function sha256(text)
  ffi.C.SHA256(text, #text, out)
  return hex(ffi.string(out, 32))
end

local function hmac(key, text)
  ffi.C.HMAC(ffi.C.EVP_sha256(), key, #key, text, #text, out, nil)
  return hex(ffi.string(out, 32))
end

local file = assert(io.open(settings.pepper))
local PEPPER = ngx.decode_base64((file:read "*l"))
file:close()
local PEPPER_ID = sha256(PEPPER):sub(1, 8)

local function refuse(status, code, message)
  ngx.var.code = code
  ngx.status = status
  if status == 401 then ngx.header["WWW-Authenticate"] = 'Bearer realm="gateway"' end
  ngx.header["Content-Type"] = "application/json"
  ngx.print('{"type": "error", "error": {"code": "', code, '", "message": "', message,
            '"}, "request_id": "', ngx.var.request_id, '"}')
  return ngx.exit(status)
end

local function check_of(text)
  local number, digits = ngx.crc32_long(text), ""
  for _ = 1, 6 do
    local digit = number % 62
    number, digits = (number - digit) / 62, DIGITS:sub(digit + 1, digit + 1) .. digits
  end
  return digits
end

-- The id in a key, or nil where its shape or its check is wrong.
local function key_id(token)
  if #token ~= 60 then return nil end
  local id = token:match "^agk_live_(%w+)_%w+$" or token:match "^agk_test_(%w+)_%w+$"
  if not id or #id ~= 12 or check_of(token:sub(1, -7)) ~= token:sub(-6) then return nil end
  return id
end

local function same(one, other)
  local differ = #one == #other and 0 or 1
  for i = 1, math.min(#one, #other) do
    differ = bit.bor(differ, bit.bxor(one:byte(i), other:byte(i)))
  end
  return differ == 0
end

local function is_proven(token, phc, tag)
  if not phc:find("$argon2id$v=19$", 1, true) then return false end
  local pid, fp, mac = tag:match "^(%x+):(%x+):(%x+)$"
  if pid ~= PEPPER_ID or fp ~= sha256(phc):sub(1, 16) then return false end
  return same(mac, hmac(PEPPER, token .. "\n" .. phc))
end

local function ask(args)
  local store = redis:new()
  store:set_timeout(1000)
  if not store:connect(settings.socket) then return nil end
  local answer, problem = store:evalsha(unpack(args))
  if answer == false and problem:find("NOSCRIPT", 1, true) then
    store:script("load", settings.script)
    answer = store:evalsha(unpack(args))
  end
  if not answer then
    store:close()
    return nil
  end
  store:set_keepalive(60000, 256)
  return answer
end

local function grants(scopes, action)
  for kind, name, granted in scopes:gmatch "(%a+)/([%w._*-]+):?([%w._*-]*)" do
    if kind == "agents" and (name == "*" or name == "bench")
       and (granted == "" or granted == "*" or granted == action) then
      return true
    end
  end
  return (" " .. scopes .. " "):find(" * ", 1, true) ~= nil
end

local function packed(cached, limits, touch)
  local tail = "{" .. cached.id .. "}"
  local keys, args = {"gw:key:" .. tail, "gw:used:" .. tail}, {}
  for i = 1, COMPARED do args[i] = cached.fields[i] end
  args[11], args[12] = cached.ends, touch
  for _, limit in ipairs(limits) do
    local kind = limit[1] == "rate" and "rate" or "quota"
    keys[#keys + 1] = "gw:" .. kind .. ":" .. tail .. ":" .. NAMES[limit[1]]
    for i = 1, 3 do args[#args + 1] = limit[i] end
  end
  local whole = {settings.sha, #keys}
  for _, key in ipairs(keys) do whole[#whole + 1] = key end
  for _, argument in ipairs(args) do whole[#whole + 1] = argument end
  return whole
end

local function policy_of(limits)
  local items, most = {}, {}
  for i, limit in ipairs(limits) do
    most[i] = tonumber(limit[1] == "rate" and limit[3] or limit[2])
    local width = WIDTHS[limit[1]] or math.ceil(most[i] * tonumber(limit[2]) / 1e6)
    items[i] = string.format('"%s";q=%d;w=%d', NAMES[limit[1]], most[i], width)
  end
  return table.concat(items, ", "), most
end

-- The cache entry of the record that was read, or a refusal.
local function learn(token, id, answer)
  local fields = {}
  for i = 1, 12 do fields[i] = answer[3 + i] end
  if not is_proven(token, fields[1], fields[11]) then
    return refuse(401, "key_invalid", "This key is not valid.")
  end
  local ends = fields[8] == "" and 0 or tonumber(fields[8])
  if fields[2] == "revoked" then return refuse(401, "key_revoked", "This key was revoked.") end
  if fields[2] ~= "active" then return refuse(401, "key_disabled", "This key is disabled.") end
  if ends and ends > 0 and answer[2] >= ends then
    return refuse(401, "key_expired", "This key has expired.")
  end
  local plan = fields[5] == "" and {} or settings.plans[fields[5]]
  if not (ends and plan and fields[6] == "") then
    return refuse(403, "key_misconfigured", "The record of this key makes no sense.")
  end
  local cached = {id = id, fields = fields, ends = ends, limits = plan, touched = 0, allowed = {}}
  cached.check = packed(cached, {}, "")
  cached.charge = packed(cached, plan, "")
  cached.touch = packed(cached, plan, "current")
  cached.policy, cached.most = policy_of(plan)
  cache:set(token, cached)
  return cached
end

local function action_of(path)
  if path == "/chat" then return ngx.req.get_method() == "POST" and "chat" or nil end
  if path:find("^/files/.") then return "files" end
  return path:find("^/[^/]+$") and "ask" or nil
end

local function may_act_for(users, user)
  users = " " .. users .. " "
  return users:find(" * ", 1, true) or users:find(" " .. user .. " ", 1, true)
end

-- What stands against a request before its limits: status, code, message; or nothing.
local function denial(cached, action, user)
  if not action then return 404, "not_found", "There is no such route." end
  local allowed = cached.allowed[action]
  if allowed == nil then
    allowed = grants(cached.fields[4], action)
    cached.allowed[action] = allowed
  end
  if not allowed then return 403, "scope_denied", "This key may not do that." end
  if user and not may_act_for(cached.fields[7], user) then
    return 403, "user_denied", "This key may not act for that user."
  end
end

local function tell(cached, answer)
  local limits, first = cached.limits, #answer - 2 * #cached.limits
  if #limits == 0 then return end
  local items, tightest, least = {}, 1, math.huge
  for i = 1, #limits do
    local left = answer[first + 2 * i - 1]
    items[i] = '"' .. NAMES[limits[i][1]] .. '";r=' .. left .. ";t=" .. answer[first + 2 * i]
    if left / cached.most[i] < least then tightest, least = i, left / cached.most[i] end
  end
  local var = ngx.var
  var.limit_policy, var.limit_state = cached.policy, table.concat(items, ", ")
  var.limit, var.limit_left = cached.most[tightest], answer[first + 2 * tightest - 1]
  var.limit_reset = answer[first + 2 * tightest]
end

local function pass(cached, user)
  local var = ngx.var
  var.key_id, var.consumer, var.scopes = cached.id, cached.fields[3], cached.fields[4]
  if user then var.user = user end
  var.span = var.request_id:sub(1, 16)
end

local function command(cached, denied)
  if denied then return cached.check end
  if ngx.now() - cached.touched < TOUCH_SECONDS then return cached.charge end
  cached.touched = ngx.now()
  return cached.touch
end

-- The answer under a cache entry, once it is the record's; a refusal otherwise.
local function admit()
  local var = ngx.var
  local token = (var.http_authorization or ""):match "^[Bb][Ee][Aa][Rr][Ee][Rr] +(%S+)$"
  if not token then return refuse(401, "key_missing", "A key is needed.") end
  local action, user = action_of(var.uri:sub(#"/agents/bench" + 1)), var.http_x_user_id
  local cached, id = cache:get(token), nil
  for _ = 1, ATTEMPTS do
    local answer
    if cached then
      local status, code, message = denial(cached, action, user)
      answer = ask(command(cached, status))
      if answer and answer[1] ~= 0 then
        if status then return refuse(status, code, message) end
        tell(cached, answer)
        if answer[1] == 1 then return pass(cached, user) end
        ngx.header["Retry-After"] = answer[2]
        local kind = cached.limits[answer[3]][1] == "rate" and "rate_limited" or "quota_exhausted"
        return refuse(429, kind, "A limit of this key is reached.")
      end
    end
    id = id or key_id(token)
    if not id then return refuse(401, "key_invalid", "This key is not valid.") end
    if not cached then answer = ask {settings.sha, 1, "gw:key:{" .. id .. "}"} end
    if not answer then return refuse(503, "store_unavailable", "Keys cannot be checked now.") end
    cached = learn(token, id, answer)
    local status, code, message = denial(cached, action, user)
    if status then return refuse(status, code, message) end
  end
  return refuse(503, "store_unavailable", "The record changes faster than it can be read.")
end

return {admit = admit}
