-- KEYS: record. ARGV: the status to set: revoked, disabled or active.
-- Returns the verdict: done, already, missing, revoked, canary, no_secret.
local record, target = KEYS[1], ARGV[1]
if redis.call('EXISTS', record) == 0 then return 'missing' end
local status = redis.call('HGET', record, 'status') or ''
if status == target then return 'already' end

if target == 'revoked' then
  redis.call('HSET', record, 'status', target, 'revoked_at', redis.call('TIME')[1])
  return 'done'
end
local hashless = (redis.call('HGET', record, 'hash') or '') == ''
-- Neither disabling nor enabling revives a revoked key; nor does rotating one without a hash.
if status == 'revoked' then return hashless and 'no_secret' or 'revoked' end
-- Nobody was given a decoy, so nobody can want it to work.
if status == 'canary' then return 'canary' end
if target == 'active' and hashless then return 'no_secret' end
redis.call('HSET', record, 'status', target)
return 'done'
