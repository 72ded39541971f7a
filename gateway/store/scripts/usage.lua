-- Adds counts to one bucket, once: a repeat with the same number by the same worker adds nothing.
-- KEYS: the bucket. ARGV: the worker, its number, seconds to keep, then fields and amounts.
local seen = '#' .. ARGV[1]
if redis.call('HGET', KEYS[1], seen) == ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], seen, ARGV[2])
for i = 4, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
if redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
