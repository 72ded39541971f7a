-- KEYS: record, [idempotency marker]. ARGV: marker seconds, request digest, hash, tag, last4,
-- then pairs of field and value.
-- Returns {verdict, the record's fields and values}: made, taken, replaced, different, changed, gone.
local record, marker = KEYS[1], KEYS[2]
local hash, tag, last4 = ARGV[3], ARGV[4], ARGV[5]

local function answer(verdict)
  return {verdict, redis.call('HGETALL', record)}
end

local kept = marker and redis.call('GET', marker)
local mark = ARGV[2] .. ':' .. redis.sha1hex(hash)

if redis.call('EXISTS', record) == 1 then
  local present = redis.call('HGET', record, 'hash') or ''
  -- The same request again, because its answer was lost.
  if present == hash then return answer('made') end
  if not kept then return answer('taken') end
  if string.sub(kept, 1, #ARGV[2]) ~= ARGV[2] then return answer('different') end
  -- Its rights are no longer those of the request: the caller may have no right to the present
  -- ones.
  local scopes, status = redis.call('HGET', record, 'scopes'), 'active'
  for i = 6, #ARGV, 2 do
    if ARGV[i] == 'scopes' and ARGV[i + 1] ~= scopes then return answer('changed') end
    -- A decoy is made as one.
    if ARGV[i] == 'status' then status = ARGV[i + 1] end
  end
  if redis.call('HGET', record, 'status') ~= status
    or string.sub(kept, #ARGV[2] + 2) ~= redis.sha1hex(present) then
    return answer('changed')
  end
  redis.call('HSET', record, 'hash', hash, 'tag', tag, 'last4', last4)
  redis.call('SET', marker, mark, 'KEEPTTL')
  return answer('replaced')
end

if kept then return answer('gone') end
local now = redis.call('TIME')[1]
redis.call('HSET', record, 'hash', hash, 'tag', tag, 'last4', last4,
           'status', 'active', 'created_at', now, unpack(ARGV, 6))
if marker then redis.call('SET', marker, mark, 'EX', ARGV[1]) end
return answer('made')
