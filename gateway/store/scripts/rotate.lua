-- KEYS: record, used, [idempotency marker]. ARGV: marker seconds, request digest, hash, tag, last4, grace,
-- '1' to revive a revoked key.
-- Returns {verdict, the record's fields and values}: made, replaced, missing, no_secret, different,
-- changed, revoked.
local record, used, marker = KEYS[1], KEYS[2], KEYS[3]
local hash, tag, last4 = ARGV[3], ARGV[4], ARGV[5]
local grace, revive = tonumber(ARGV[6]), ARGV[7] == '1'

local function answer(verdict)
  return {verdict, redis.call('HGETALL', record)}
end

local function field(name)
  return redis.call('HGET', record, name) or ''
end

if redis.call('EXISTS', record) == 0 then return {'missing', {}} end
local present, status = field('hash'), field('status')
if present == '' then return answer('no_secret') end
-- The same request again, because its answer was lost.
if present == hash then return answer('made') end

local now = tonumber(redis.call('TIME')[1])
local mark = ARGV[2] .. ':' .. redis.sha1hex(hash)
local fresh = {'hash', hash, 'tag', tag, 'last4', last4, 'rotated_at', string.format('%.0f', now)}

-- The last use belongs to its secret. Only history: it must not keep anybody from rotating a key.
local function pass_on(keeps)
  local last = keeps and redis.pcall('HGET', used, 'current')
  redis.pcall('HDEL', used, 'current', 'previous')
  if type(last) == 'string' then redis.pcall('HSET', used, 'previous', last) end
end

local kept = marker and redis.call('GET', marker)
if kept then
  if string.sub(kept, 1, #ARGV[2]) ~= ARGV[2] then return answer('different') end
  if status == 'revoked' or string.sub(kept, #ARGV[2] + 2) ~= redis.sha1hex(present) then
    return answer('changed')
  end
  -- The current secret was lost before anybody had it; the previous one keeps its grace period.
  redis.call('HSET', record, unpack(fresh))
  redis.call('SET', marker, mark, 'KEEPTTL')
  redis.pcall('HDEL', used, 'current')
  return answer('replaced')
end

-- Somebody closed it while this secret was made.
if status == 'revoked' and not revive then return answer('revoked') end

local function lives()
  local ends = field('expires_at')
  if status ~= 'active' then return false end
  if ends == '' then return true end
  return #ends <= 12 and string.find(ends, '^%d+$') ~= nil and now < tonumber(ends)
end

local keeps = grace > 0 and lives()
if keeps then
  redis.call('HSET', record, 'previous_hash', present, 'previous_tag', field('tag'),
             'previous_expires_at', string.format('%.0f', now + grace))
else
  redis.call('HDEL', record, 'previous_hash', 'previous_tag', 'previous_expires_at')
end
if status == 'revoked' then
  redis.call('HSET', record, 'status', 'active')
  redis.call('HDEL', record, 'revoked_at')
end
redis.call('HSET', record, unpack(fresh))
if marker then redis.call('SET', marker, mark, 'EX', ARGV[1]) end
pass_on(keeps)
return answer('made')
