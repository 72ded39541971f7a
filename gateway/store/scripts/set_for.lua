-- Sets fields of a hash and its expiry together, so that it never stays for ever.
-- KEYS: the hash. ARGV: seconds that it lasts, then pairs of field and value. Returns when it ends.
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return tonumber(redis.call('TIME')[1]) + tonumber(ARGV[1])
