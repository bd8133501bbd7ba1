-- claim_queue: take a queue for one TaskQueue of one cluster, or show that it is still in use.
-- KEYS[1] hash claim
-- ARGV[1] string cluster   ARGV[2] string uid   ARGV[3] string namespace/name   ARGV[4] int life of the claim, ms
-- ARGV[5] int format of a claim   ARGV[6] int ms; as long as it has been shown within that time, nothing is written
-- Returns: array: verdict (taken, held, refused, newer), cluster, uid, namespace/name and life left in ms of who has it
local had = redis.call('HMGET', KEYS[1], 'cluster', 'uid', 'object', 'format')
if had[1] and had[2] then
  if tonumber(had[4] or '') == nil or tonumber(had[4]) > tonumber(ARGV[5]) then return {'newer', had[1], had[2], had[3] or '', 0} end
  if had[1] ~= ARGV[1] or had[2] ~= ARGV[2] then
    return {'refused', had[1], had[2], had[3] or '', redis.call('PTTL', KEYS[1])}
  end
  local life = tonumber(ARGV[4])
  local left = had[3] == ARGV[3] and redis.call('PTTL', KEYS[1]) or 0
  if left > life - tonumber(ARGV[6]) and left <= life then return {'held', ARGV[1], ARGV[2], ARGV[3], left} end
end
redis.call('HSET', KEYS[1], 'format', ARGV[5], 'cluster', ARGV[1], 'uid', ARGV[2], 'object', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {had[1] and had[2] and 'held' or 'taken', ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])}
