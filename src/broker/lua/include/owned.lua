-- owned: whether an attempt still belongs to an owner, and whether its task was taken back.
-- What was written at the claim, lease end and owner, counts only while the lease still has that very score: other
-- programs move a task without touching our fields.
local expected_score, expected
local function owned(task, score, owner)
  local held = score and redis.call('HGET', task, 'cronmill_lease')
  if not held then return false, false end
  -- Most leases of a call end in the same second: what is expected is put together once.
  if score ~= expected_score then expected_score, expected = score, score .. ' ' .. owner end
  local ours = expected
  if held == ours then return true, false end
  return held == ours .. ' revoked', string.sub(held, -8) == ' revoked'
end

-- Who holds an attempt, of what the claim wrote and the lease's score; nil when that is about another lease.
local function holder(held, score)
  if not held or not score or string.sub(held, 1, #score + 1) ~= score .. ' ' then return nil end
  return (string.gsub(string.sub(held, #score + 2), ' revoked$', ''))
end
