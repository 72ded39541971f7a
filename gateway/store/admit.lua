-- Admission: compare what the gateway has cached of a key with its record; if it holds, check every
-- limit, then charge every one. Nothing is charged unless all pass. Time is this server's own.
--
-- KEYS: record, used, then one counter a limit.
-- ARGV: 10 compared fields (none: only read), the second the secret in hand stops working ('0':
--       never), the slot of gw:used to touch ('': none, '?': charge nothing), then three a counter:
--       'rate', microseconds a request, burst | window (s m h d month), count, '' |
--       'tokens', count, window (after those) |
--       'lease', count, '' (after all others), and last, where there is a lease, its id. Where
--       limits are only tried out, before the last a letter for each limit: '~' is tried out, and
--       the last is there in any case.
--       Or, once it is known what a call took: '+', tokens, then the window of each counter; KEYS:
--       a mark that this was counted, then the counters.
-- Returns: {0, seconds, microseconds, 12 fields}                        outdated, or read
--          {1, remaining, reset seconds, …}                             admitted and charged
--          {3, position of the limit, remaining, reset seconds, …}      the same, though one that
--                                    is tried out is exceeded: none of those is charged then
--          {2, retry seconds, position of the limit, remaining, reset…} refused, nothing charged

local FIELDS = {'hash', 'status', 'consumer', 'scopes', 'plan', 'limits', 'users', 'expires_at',
                'previous_hash', 'previous_expires_at', 'tag', 'previous_tag'}
local COMPARED = 10
local WIDTH = {s = 1, m = 60, h = 3600, d = 86400}
local SHORTEST_MONTH = 28 * 86400
local TOUCH_SECONDS, USED_TTL = 60, 34560000
local LEASE_MS = 30000
local MARK_SECONDS = 600

local clock = redis.call('TIME')
local seconds, now = tonumber(clock[1]), tonumber(clock[1]) * 1000000 + tonumber(clock[2])

-- The first second of the next month (proleptic Gregorian). Years and months are counted from March,
-- so that the leap day is the last day of a year.
local function month_end()
  local days = math.floor(seconds / 86400) + 719468
  local era = math.floor(days / 146097)
  local doe = days - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524)
                          - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local year, month = yoe + era * 400, math.floor((5 * doy + 2) / 153) + 1
  if month == 12 then year, month = year + 1, 0 end
  days = year * 365 + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
         + math.floor((153 * month + 2) / 5)
  return (days - 719468) * 86400
end

local function window_end(window)
  local width = WIDTH[window]
  if width then return (math.floor(seconds / width) + 1) * width end
  return month_end()
end

-- Rounded up: accumulated rounding errors must never admit more.
local function keep_rate(key, ahead, interval)
  redis.call('SET', key, string.format('%.0f %.17g', math.ceil(now + ahead), interval),
             'PX', string.format('%.0f', math.ceil(ahead / 1000) + 1000))
end

-- A counter that should be a number and is not admits nobody; nothing has been charged yet.
local function meaningless(key)
  error({err = 'COUNTER ' .. key .. ' makes no sense: delete it.'})
end

-- GCRA: `tat` is the time when the bucket is full again. The interval is stored beside it, so that
-- requests that were used stay used when the rate changes; from then on the bucket drains at the
-- new rate.
local function check_rate(key, interval, burst)
  local value, ahead = redis.call('GET', key), 0
  if value then
    local tat, kept = string.match(value, '^(%d+) ([%d.]+)$')
    kept = tonumber(kept or '')
    if not kept or kept <= 0 then meaningless(key) end
    local left = math.max(0, tonumber(tat) - now) * interval / kept
    ahead = math.min(left, burst * interval)
    -- It is more than full if the burst was lowered or the clock set back. Unchanged, it would
    -- refuse until that time is over. The microsecond allows for rounding up.
    if kept ~= interval or left > ahead + 1 then keep_rate(key, ahead, interval) end
  end
  return ahead + interval - burst * interval, ahead
end

-- A counter belongs to the window that its expiry shows, which is a second after the window's end:
-- Redis keeps a key through the millisecond in which it expires, but deletes a key at once that is
-- created in that millisecond.
local function counter_end(ends) return ends * 1000 + 1000 end

-- Not compared to the millisecond: a counter that moves to another cluster node takes its remaining
-- lifetime along instead of its end, so it is late by the transfer time. Windows are at least one
-- width apart.
local function quota_used(key, window, ends)
  local value = redis.call('GET', key)
  if not value then return 0 end
  local until_ms = redis.call('PEXPIRETIME', key)
  if until_ms < 0 then
    -- Somebody removed its expiry. What was used stays used, but no longer than to this end.
    redis.call('SET', key, value, 'PXAT', string.format('%.0f', counter_end(ends)))
    until_ms = counter_end(ends)
  end
  local off = math.abs(until_ms - counter_end(ends))
  if off >= (WIDTH[window] or SHORTEST_MONTH) * 500 then return 0 end
  return tonumber(string.match(value, '^%d+$') or meaningless(key))
end

local function count_quota(key, state, amount)
  if state.used > 0 then
    redis.call('INCRBY', key, amount)
  else
    redis.call('SET', key, amount, 'PXAT', string.format('%.0f', counter_end(state.ends)))
  end
  state.used = state.used + amount
end

-- Counted once even if it is sent twice because the first reply was lost. An invalid counter ends
-- this before anything is marked or charged.
local function count_tokens()
  local states = {}
  for i = 2, #KEYS do
    local window = ARGV[i + 1]
    local ends = window_end(window)
    states[i] = {used = quota_used(KEYS[i], window, ends), ends = ends}
  end
  if not redis.call('SET', KEYS[1], 1, 'NX', 'EX', MARK_SECONDS) then return 0 end
  for i = 2, #KEYS do count_quota(KEYS[i], states[i], ARGV[2]) end
  return 1
end

-- A record may hold any text, so the first argument alone is not enough: a compared hash stands
-- before eleven more arguments, the `+` of a count never does.
if ARGV[1] == '+' and #ARGV < COMPARED then return count_tokens() end

-- A key of another type reads as an empty record, which denies. Any other error, such as a missing
-- right to read it, says nothing about the key.
local record = redis.pcall('HMGET', KEYS[1], unpack(FIELDS))
if record.err and string.sub(record.err, 1, 9) ~= 'WRONGTYPE' then return record end

local function stale()
  local answer = {0, seconds, tonumber(clock[2])}
  for i = 1, #FIELDS do answer[3 + i] = record[i] or '' end
  return answer
end

-- Where nothing is given to be compared, nothing is equal.
for i = 1, COMPARED do
  if (record[i] or '') ~= ARGV[i] then return stale() end
end
if record[2] ~= 'active' then return stale() end
local until_second = tonumber(ARGV[11])
if until_second > 0 and seconds >= until_second then return stale() end

-- One entry for each request in progress, scored by the millisecond until which its gateway vouches
-- for it.
local function leases(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now / 1000))
  return redis.call('ZCARD', key)
end

local function take_lease(key)
  redis.call('ZADD', key, string.format('%.0f', now / 1000 + LEASE_MS), ARGV[#ARGV])
  redis.call('PEXPIRE', key, LEASE_MS + 1000)
end

local function rate_state(ahead, interval, burst)
  local left = math.floor((burst * interval - ahead) / interval + 1e-6)
  return math.max(0, left), math.ceil(ahead / 1000000)
end

local worst, position, writes = 0, 0, false
local tried = #ARGV == 14 + (#KEYS - 2) * 3 and ARGV[#ARGV - 1]
local beyond, exceeded, tried_writes = 0, 0, false
local states = {}
for i = 3, #KEYS do
  local at = 13 + (i - 3) * 3
  local kind, amount = ARGV[at], tonumber(ARGV[at + 1])
  local wait, state
  if kind == 'rate' then
    local burst = tonumber(ARGV[at + 2])
    local late, ahead = check_rate(KEYS[i], amount, burst)
    -- Half a microsecond: the possible error of double precision, far below one request.
    wait = late > 0.5 and late or 0
    state = {ahead = ahead, interval = amount, burst = burst}
  elseif kind == 'tokens' then
    local ends = window_end(ARGV[at + 2])
    local used = quota_used(KEYS[i], ARGV[at + 2], ends)
    wait = used >= amount and ends * 1000000 - now or 0
    -- Callers have no header for it, but explanations show it.
    state = ARGV[12] == '?' and {used = used, ends = ends, count = amount} or {}
  elseif kind == 'lease' then
    -- It is unknown when one will end; a second is the smallest value that can be told.
    wait = leases(KEYS[i]) >= amount and 1000000 or 0
    state = {lease = true}
  else
    local ends = window_end(kind)
    local used = quota_used(KEYS[i], kind, ends)
    wait = used >= amount and ends * 1000000 - now or 0
    state = {used = used, ends = ends, count = amount}
  end
  states[i] = state
  if tried and string.sub(tried, i - 2, i - 2) == '~' then
    state.tried = true
    tried_writes = tried_writes or kind ~= 'tokens'
    if wait > beyond then beyond, exceeded = wait, i - 2 end
  else
    writes = writes or kind ~= 'tokens'
    if wait > worst then worst, position = wait, i - 2 end
  end
end
writes = writes or (tried_writes and exceeded == 0)

local admitted = worst == 0
if admitted and ARGV[12] ~= '?' then
  if not writes then
    -- A replica may be behind, and a master without replicas may have been replaced, so neither may
    -- say who is revoked. If nothing is charged, only a write that changes nothing shows it.
    local written = redis.pcall('HDEL', KEYS[2], '')
    local kind = type(written) == 'table' and string.match(written.err, '^%u+')
    if kind == 'READONLY' or kind == 'NOREPLICAS' then return written end
  end
  for i = 3, #KEYS do
    local state = states[i]
    if state.tried and exceeded > 0 then
      -- As if the request had been refused: the limit goes on as it would.
    elseif state.interval then
      state.ahead = state.ahead + state.interval
      keep_rate(KEYS[i], state.ahead, state.interval)
    elseif state.lease then
      take_lease(KEYS[i])
    elseif state.ends then
      count_quota(KEYS[i], state, 1)
    end
  end
  local slot = ARGV[12]
  if slot ~= '' then
    -- Only history: a full server must still admit a key without limits.
    local last = redis.pcall('HGET', KEYS[2], slot)
    if type(last) ~= 'string' or seconds - (tonumber(last) or 0) >= TOUCH_SECONDS then
      redis.pcall('HSET', KEYS[2], slot, clock[1])
      redis.pcall('EXPIRE', KEYS[2], USED_TTL)
    end
  end
end

local answer = {2, math.max(1, math.ceil(worst / 1000000)), position}
if admitted then answer = exceeded > 0 and {3, exceeded} or {1} end
for i = 3, #KEYS do
  local state = states[i]
  local left, reset
  if state.tried then
    -- Callers are told only of enforced limits.
  elseif state.interval then
    left, reset = rate_state(state.ahead, state.interval, state.burst)
  elseif state.ends then
    left = math.max(0, state.count - state.used)
    reset = math.max(1, math.ceil((state.ends * 1000000 - now) / 1000000))
  end
  if left then answer[#answer + 1], answer[#answer + 2] = left, reset end
end
return answer
