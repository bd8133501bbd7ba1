-- In force, whatever became of the last run.
if obj.spec.suspend then
  -- On purpose, so nothing is wrong with the application.
  return {status = "Healthy", message = "is suspended: nothing is enqueued until it is resumed"}
end
return {status = "Healthy", message = condition("Ready").message}
