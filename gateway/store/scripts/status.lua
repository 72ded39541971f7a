-- KEYS: record. ARGV: the status to set: revoked, disabled or active; '1' for a dry run.
-- Returns the verdict: done, already, missing, revoked, canary, no_secret.
local record, target, dry_run = KEYS[1], ARGV[1], ARGV[2] == '1'
if redis.call('EXISTS', record) == 0 then return 'missing' end
local status = redis.call('HGET', record, 'status') or ''
if status == target then return 'already' end

if target == 'revoked' then
  if dry_run then return 'done' end
  redis.call('HSET', record, 'status', target, 'revoked_at', redis.call('TIME')[1])
  return 'done'
end
local hashless = (redis.call('HGET', record, 'hash') or '') == ''
-- Neither disabling nor enabling revives a revoked key; nor does rotating one without a hash.
if status == 'revoked' then return hashless and 'no_secret' or 'revoked' end
-- Nobody was given a decoy, so nobody can want it to work.
if status == 'canary' then return 'canary' end
if target == 'active' and hashless then return 'no_secret' end
if not dry_run then redis.call('HSET', record, 'status', target) end
return 'done'
