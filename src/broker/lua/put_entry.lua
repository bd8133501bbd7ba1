-- put_entry: write a schedule entry, unless a newer revision stands there.
-- KEYS[1] hash entry   KEYS[2] zset due   KEYS[3] list record of its ticks
-- ARGV[1] string uid   ARGV[2] int epoch   ARGV[3] int generation   ARGV[4] string revision
-- ARGV[5] string body (JSON)   ARGV[6] string hash of what decides its times   ARGV[7] string concurrency policy
-- ARGV[8] int next tick, Unix s, or ''   ARGV[9] int when that is due, Unix ms, or +inf   ARGV[10] string cluster
-- ARGV[11] int now, Unix ms   ARGV[12] int next tick carried over from another queue, or ''   ARGV[13] int when due, or ''
-- ARGV[14] 1 when it is suspended   ARGV[15] int format of the body
-- Returns: array: verdict (written, same, older, due-first), stored revision, stored next
-- An edit that leaves the times alone keeps the stored next tick. One that moves them waits until the tick
-- that is due under the old times is accounted for: due-first. An entry that was set aside goes on from the tick
-- at which it was; where its times have changed since, that tick has failed.
local old = redis.call('HMGET', KEYS[1], 'rev', 'epoch', 'generation', 'timing', 'next', 'body', 'retired', 'fault')
local next_tick, due = ARGV[8], ARGV[9]
if old[1] then
  local epoch, generation = tonumber(old[2]), tonumber(old[3])
  local older = tonumber(ARGV[2]) < epoch or (tonumber(ARGV[2]) == epoch and tonumber(ARGV[3]) < generation)
  if older and not old[7] then return {'older', old[1], old[5]} end
  local stored_due = redis.call('ZSCORE', KEYS[2], ARGV[1])
  if old[7] then
    stored_due = false
  elseif old[4] == ARGV[6] then
    next_tick = old[5]
    due = stored_due or due
    if old[8] and next_tick ~= '' then due = next_tick .. '000' end
    if old[1] == ARGV[4] and stored_due and not old[8] then return {'same', old[1], old[5]} end
  elseif stored_due and tonumber(stored_due) <= tonumber(ARGV[11]) then
    return {'due-first', old[1], old[5]}
  elseif old[8] and old[5] ~= '' and tonumber(old[5]) * 1000 <= tonumber(ARGV[11]) then
    record(KEYS[3], old[5], old[5], '1', 'failed', ARGV[11], '', escaped(old[8]))
    redis.call('HINCRBY', KEYS[1], 'n:failed', 1)
  end
elseif ARGV[12] ~= '' then
  next_tick, due = ARGV[12], ARGV[13]
end
redis.call('HSET', KEYS[1], 'format', ARGV[15], 'rev', ARGV[4], 'epoch', ARGV[2], 'generation', ARGV[3], 'body', ARGV[5],
  'timing', ARGV[6], 'policy', ARGV[7], 'next', next_tick, 'cluster', ARGV[10])
redis.call('HDEL', KEYS[1], 'fault', 'retired', 'suspended')
if ARGV[14] == '1' then redis.call('HSET', KEYS[1], 'suspended', 1) end
redis.call('ZADD', KEYS[2], due, ARGV[1])
return {'written', ARGV[4], next_tick}
