-- owned: whether an attempt still belongs to an owner.
-- The owner and the lease written at the claim count only while the lease still has that very score:
-- other programs move a task without touching our fields.
local function owned(lease_zset, task, id, owner)
  local mine = redis.call('HMGET', task, 'cronmill_owner', 'cronmill_lease')
  if mine[1] ~= owner then return false end
  return mine[2] and mine[2] == redis.call('ZSCORE', lease_zset, id)
end
