using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using FedRLora.Abstractions.Ports;
using FedRLora.ControlPlane.Trackers;

namespace FedRLora.Silo.Trackers;

/// <summary>
/// One run of ours as a run of MLflow: found or created, then sent what it does not have. Within one name MLflow has the points up to a
/// step and none after it, since they are sent in order; so what is missing is known from the last point of each name.
/// </summary>
internal sealed class MlflowRun(MlflowApi api, MlflowServer server, IBlobStore store, string run)
{
    /// <summary>What MLflow takes in one call, and of one value.</summary>
    public const int MostMetrics = 1000, MostParameters = 100, MostTags = 100, LongestParameter = 500, LongestTag = 5000;

    private readonly Dictionary<string, long> _last = new(StringComparer.Ordinal); // step by name
    private readonly Dictionary<string, string> _tags = new(StringComparer.Ordinal); // as they are there
    private TrackedRun? _tracked;
    private string? _id;
    private string? _status;

    /// <summary>Whether it is known what the server has.</summary>
    public bool IsOpen => _id is not null;

    /// <summary>What the server has has to be asked again: it may have taken a request that it did not answer.</summary>
    public void Close() => _id = null;

    /// <summary>Finds the run there, or creates it.</summary>
    /// <param name="description">What it is created with.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="TrackerTroubleException">The server did not do it.</exception>
    public async Task OpenAsync(RunDescription description, CancellationToken cancellationToken)
    {
        _tracked = await TrackedRun.RequireAsync(store, run, cancellationToken);
        var id = _tracked.At(server.Address)?.RunId;
        var there = id is null ? null : await TryGetAsync(id, cancellationToken);
        if (there is null)
        {
            id = await FindOrCreateAsync(description, cancellationToken);
            _tracked = await _tracked.WriteAsync(store, run, server.Address, new(id), cancellationToken);
            there = await TryGetAsync(id, cancellationToken)
                ?? throw new TrackerTroubleException($"run {id}, which it has just named, is not there");
        }

        var (info, data) = (there.Value.GetProperty("info"), there.Value.GetProperty("data"));
        if (Text(info, "lifecycle_stage") == "deleted")
            throw new TrackerTroubleException($"run {id} is deleted there; restore it to have its points") { NeedsSomebody = true };
        _status = Text(info, "status");
        _last.Clear();
        foreach (var metric in Items(data, "metrics")) _last[Text(metric, "key")!] = Number(metric, "step");
        _tags.Clear();
        foreach (var tag in Items(data, "tags")) _tags[Text(tag, "key")!] = Text(tag, "value") ?? "";
        var known = Items(data, "params").Select(static one => Text(one, "key")).ToHashSet(StringComparer.Ordinal);
        foreach (var part in description.Parameters.Where(one => !known.Contains(one.Key)).Chunk(MostParameters))
            await LogAsync(id!, new() { ["params"] = Pairs(part) }, cancellationToken);
        _id = id;
    }

    /// <summary>Sends those points of rounds that are not there, in order; returns how many.</summary>
    /// <inheritdoc cref="OpenAsync" path="/exception"/>
    public async Task<int> SendAsync(IEnumerable<TrackerRound> rounds, CancellationToken cancellationToken)
    {
        var missing = rounds.SelectMany(static round => round.Points.Select(point => (round, point))).Where(IsMissing).ToList();
        foreach (var batch in missing.Chunk(MostMetrics))
        {
            var metrics = batch.Select(static one => (JsonNode)new JsonObject
            {
                ["key"] = one.point.Name, ["value"] = one.point.Value, ["timestamp"] = one.round.At.ToUnixTimeMilliseconds(),
                ["step"] = one.round.Step,
            });
            await LogAsync(_id!, new() { ["metrics"] = new JsonArray([.. metrics]) }, cancellationToken);
            foreach (var (round, point) in batch) _last[point.Name] = round.Step;
        }

        return missing.Count;
    }

    /// <summary>How many points of rounds are not there.</summary>
    public int Missing(IEnumerable<TrackerRound> rounds) =>
        rounds.Sum(round => round.Points.Count(point => IsMissing((round, point))));

    /// <summary>Passes over points that the server refuses.</summary>
    public void Skip(IEnumerable<TrackerRound> rounds)
    {
        foreach (var round in rounds)
        {
            foreach (var point in round.Points) _last[point.Name] = Math.Max(round.Step, _last.GetValueOrDefault(point.Name, -1));
        }
    }

    /// <summary>Sets those tags that have other values there.</summary>
    /// <inheritdoc cref="OpenAsync" path="/exception"/>
    public async Task TagAsync(IReadOnlyDictionary<string, string> tags, CancellationToken cancellationToken)
    {
        var changed = tags.Where(tag => _tags.GetValueOrDefault(tag.Key) != tag.Value).ToList();
        foreach (var part in changed.Chunk(MostTags))
        {
            await LogAsync(_id!, new() { ["tags"] = Pairs(part) }, cancellationToken);
            foreach (var (key, value) in part) _tags[key] = value;
        }
    }

    /// <summary>Says where the run stands.</summary>
    /// <param name="status">RUNNING, FINISHED, FAILED or KILLED.</param>
    /// <param name="at">When it ended; null while it goes on.</param>
    /// <param name="isEnded">Whether nothing is to follow.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <inheritdoc cref="OpenAsync" path="/exception"/>
    public async Task SetAsync(string status, DateTimeOffset? at, bool isEnded, CancellationToken cancellationToken)
    {
        if (_status != status)
        {
            var body = new JsonObject { ["run_id"] = _id, ["status"] = status };
            if (at is { } end) body["end_time"] = end.ToUnixTimeMilliseconds();
            await api.PostAsync("runs/update", body, cancellationToken);
            _status = status;
        }

        if (_tracked!.At(server.Address) is { } there && there.IsEnded != isEnded)
            _tracked = await _tracked.WriteAsync(store, run, server.Address, there with { IsEnded = isEnded }, cancellationToken);
    }

    private bool IsMissing((TrackerRound Round, TrackerPoint Point) one) =>
        !_last.TryGetValue(one.Point.Name, out var step) || step < one.Round.Step;

    private async Task<string> FindOrCreateAsync(RunDescription description, CancellationToken cancellationToken)
    {
        var experiment = await ExperimentAsync(server.Experiment ?? description.Experiment, cancellationToken);
        var found = await api.PostAsync("runs/search", new()
        {
            ["experiment_ids"] = new JsonArray(experiment), ["filter"] = $"tags.`{RunDescription.IdTag}` = '{_tracked!.Id}'",
            ["run_view_type"] = "ALL", ["max_results"] = 1,
        }, cancellationToken);
        if (Items(found, "runs").FirstOrDefault() is { ValueKind: JsonValueKind.Object } there) return IdOf(there);
        var created = await api.PostAsync("runs/create", new()
        {
            ["experiment_id"] = experiment, ["run_name"] = run, ["start_time"] = description.Start.ToUnixTimeMilliseconds(),
            ["tags"] = Pairs([new(RunDescription.IdTag, _tracked.Id), new("mlflow.runName", run)]),
        }, cancellationToken);
        return IdOf(created.GetProperty("run"));
    }

    private async Task<string> ExperimentAsync(string name, CancellationToken cancellationToken)
    {
        if (await TryFindAsync() is { } known) return known;
        try
        {
            return Text(await api.PostAsync("experiments/create", new() { ["name"] = name }, cancellationToken), "experiment_id")
                ?? throw new TrackerTroubleException("it created an experiment without an id");
        }
        catch (TrackerTroubleException e) when (e.Code == MlflowApi.ThereAlready)
        {
            return await TryFindAsync() ?? throw new TrackerTroubleException($"experiment {name} is there and is not found");
        }

        async Task<string?> TryFindAsync()
        {
            try
            {
                var found = (await api.GetAsync("experiments/get-by-name", "experiment_name", name, cancellationToken))
                    .GetProperty("experiment");
                return Text(found, "lifecycle_stage") != "deleted" ? Text(found, "experiment_id")
                    : throw new TrackerTroubleException(
                        $"experiment {name} is deleted there; restore it, or name another with MLFLOW_EXPERIMENT_NAME")
                    {
                        NeedsSomebody = true,
                    };
            }
            catch (TrackerTroubleException e) when (e.Code == MlflowApi.NotThere)
            {
                return null;
            }
        }
    }

    private async Task<JsonElement?> TryGetAsync(string id, CancellationToken cancellationToken)
    {
        try
        {
            return (await api.GetAsync("runs/get", "run_id", id, cancellationToken)).GetProperty("run");
        }
        catch (TrackerTroubleException e) when (e.Code == MlflowApi.NotThere)
        {
            return null;
        }
    }

    private async Task LogAsync(string id, JsonObject body, CancellationToken cancellationToken)
    {
        body["run_id"] = id;
        await api.PostAsync("runs/log-batch", body, cancellationToken);
    }

    private static JsonArray Pairs(IEnumerable<KeyValuePair<string, string>> pairs) =>
        new([.. pairs.Select(static pair => (JsonNode)new JsonObject { ["key"] = pair.Key, ["value"] = pair.Value })]);

    private static string IdOf(JsonElement run) => Text(run.GetProperty("info"), "run_id")
        ?? throw new TrackerTroubleException("it named a run without an id");

    private static List<JsonElement> Items(JsonElement element, string name) =>
        element.TryGetProperty(name, out var list) && list.ValueKind == JsonValueKind.Array ? [.. list.EnumerateArray()] : [];

    private static string? Text(JsonElement element, string name) =>
        element.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    // int64 is a number or a text in protobuf's JSON; one that is 0 may be left out
    private static long Number(JsonElement element, string name) => !element.TryGetProperty(name, out var value) ? 0
        : value.ValueKind == JsonValueKind.String ? long.Parse(value.GetString()!, CultureInfo.InvariantCulture)
        : value.GetInt64();
}
