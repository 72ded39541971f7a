-- KEYS: record. ARGV: pairs of field and value. Returns 1, or 0 where there is no such record.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV))
return 1
