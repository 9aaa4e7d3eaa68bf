-- Sends each CT series to the node when no image has come for StableAge seconds.
function OnStableSeries(id, tags, metadata)
  if tags["Modality"] == "CT" then
    for _, instance in ipairs(ParseJson(RestApiGet("/series/" .. id .. "/instances"))) do
      SendToModality(instance["ID"], "node")
    end
  end
end
