-- owned: whether an attempt still belongs to an owner, and whether its task was taken back.
-- What was written at the claim, lease end and owner, counts only while the lease still has that very score: other
-- programs move a task without touching our fields.
local function owned(task, score, owner)
  local held = score and redis.call('HGET', task, 'cronmill_lease')
  if not held then return false, false end
  local ours = score .. ' ' .. owner
  if held == ours then return true, false end
  return held == ours .. ' revoked', string.sub(held, -8) == ' revoked'
end
