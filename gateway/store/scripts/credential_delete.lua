-- KEYS: record, revision, changes, gone. ARGV: id, its last version. Returns 1, or 0: none there.
-- What stays tells pollers that it is gone, and a successor which version it continues.
if redis.call('DEL', KEYS[1]) == 0 then return 0 end
local time = redis.call('TIME')
local before = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
-- What somebody else put there may be no number that a score can hold.
if not (before <= 2^53) then before = 0 end
local revision = string.format('%.0f', math.max(before + 1, time[1] * 1000000 + time[2]))
redis.call('SET', KEYS[2], revision)
redis.call('ZADD', KEYS[3], revision, ARGV[1])
redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
return 1
