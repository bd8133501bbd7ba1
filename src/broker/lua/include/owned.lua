-- owned: whether an attempt still belongs to an owner, and whether its task was taken back.
-- The owner and the lease written at the claim count only while the lease still has that very score:
-- other programs move a task without touching our fields.
local function owned(task, score, owner)
  local mine = redis.call('HMGET', task, 'cronmill_owner', 'cronmill_lease', 'cronmill_revoked')
  local is_theirs = mine[1] == owner and score and mine[2] == score
  return is_theirs, mine[3] and true or false
end
