-- KEYS: the link. ARGV: the digest of a session. Returns 1 if the link is that session's from now on.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local session = redis.call('HGET', KEYS[1], 'session')
if session then return session == ARGV[1] and 1 or 0 end
redis.call('HSET', KEYS[1], 'session', ARGV[1])
return 1
