-- KEYS: record, used. ARGV: '1' to replace what is there, '1' for a dry run, the second in which Redis
-- is to remove it ('': never), the fields that are written even when empty, with spaces between, then
-- pairs of field and value, all of them.
-- Returns the verdict: made, same, replaced, taken, revoked, ended, strange.
local record, used = KEYS[1], KEYS[2]
local overwrite, dry_run, ends = ARGV[1] == '1', ARGV[2] == '1', ARGV[3]
local always = {}
for name in string.gmatch(ARGV[4], '%S+') do always[name] = true end

if ends ~= '' and tonumber(redis.call('TIME')[1]) >= tonumber(ends) then return 'ended' end
local kind = redis.call('TYPE', record).ok
if kind ~= 'none' and kind ~= 'hash' then return 'strange' end

local new, old = {}, {}
for i = 5, #ARGV, 2 do
  new[ARGV[i]] = ARGV[i + 1]
  old[ARGV[i]] = redis.call('HGET', record, ARGV[i]) or ''
end

-- If the hash is the same, keep the tag that is here: it may be of a pepper that only this gateway
-- knows.
local function keep_tag(hash, tag)
  if old[hash] == new[hash] and old[tag] ~= '' then new[tag] = old[tag] end
end

local function differs()
  if redis.call('EXPIRETIME', record) ~= tonumber(ends == '' and -1 or ends) then return true end
  for name, value in pairs(new) do
    if old[name] ~= value then return true end
  end
  return false
end

local verdict = 'made'
if kind == 'hash' then
  keep_tag('hash', 'tag')
  keep_tag('previous_hash', 'previous_tag')
  if not differs() then return 'same' end
  if not overwrite then return 'taken' end
  -- A key that was revoked here stays revoked, whatever an older copy says.
  if old.status == 'revoked' and new.status ~= 'revoked' then return 'revoked' end
  verdict = 'replaced'
end
if dry_run then return verdict end

local set, drop = {}, {}
for name, value in pairs(new) do
  if value ~= '' or always[name] then
    set[#set + 1], set[#set + 2] = name, value
  else
    drop[#drop + 1] = name
  end
end
-- First the write that a full server refuses: nothing has been changed then.
redis.call('HSET', record, unpack(set))
if #drop > 0 then redis.call('HDEL', record, unpack(drop)) end
if ends ~= '' then
  redis.call('EXPIREAT', record, ends)
else
  redis.call('PERSIST', record)
end
-- The last use belongs to its secret. Only history.
if old.hash ~= new.hash then redis.pcall('HDEL', used, 'current', 'previous') end
return verdict
