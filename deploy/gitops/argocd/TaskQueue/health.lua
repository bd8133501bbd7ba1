-- In force, however much work waits.
local paused = {}
for _, queue in ipairs(obj.spec.queues or {}) do
  if queue.paused ~= nil then
    table.insert(paused, queue.name)
  end
end
if #paused > 0 then
  -- On purpose, so nothing is wrong with the application.
  return {status = "Healthy", message = "paused: " .. table.concat(paused, ", ")}
end
return {status = "Healthy", message = condition("Ready").message}
