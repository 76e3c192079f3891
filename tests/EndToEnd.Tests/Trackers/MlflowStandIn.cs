using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace FedRLora.EndToEnd.Tests.Trackers;

/// <summary>A point as MLflow has it.</summary>
internal sealed record StoredPoint(string Key, double Value, long Timestamp, long Step);

/// <summary>A run as MLflow has it.</summary>
internal sealed class StoredRun(string id, string experiment, string name)
{
    public string Id => id;

    public string Experiment => experiment;

    public string Name => name;

    public string Status { get; set; } = "RUNNING";

    public string Stage { get; set; } = "active";

    public List<StoredPoint> Points { get; } = [];

    public Dictionary<string, string> Parameters { get; } = [];

    public Dictionary<string, string> Tags { get; } = [];
}

/// <summary>
/// A stand-in for MLflow's tracking server. It holds each request against the published REST API 2.0
/// (https://mlflow.org/docs/latest/rest-api.html) and its limits: fields and their types, names, numbers in one call. What breaks a rule is
/// refused and kept in <see cref="Faults"/>. Points are appended as a store of files does it, so that one sent twice is there twice.
/// </summary>
internal sealed partial class MlflowStandIn : IAsyncDisposable
{
    private const int
        MostMetrics = 1000, MostPairs = 100, LongestKey = 250, LongestParameter = 500, LongestTag = 5000, MostBytes = 1_000_000;

    private readonly HttpListener _listener = new();
    private readonly SemaphoreSlim _asked = new(0);
    private readonly Lock _gate = new();
    private readonly Task _serving;
    private readonly Dictionary<string, string> _experiments = []; // id by name
    private readonly List<StoredRun> _runs = [];

    public MlflowStandIn(int? port = null)
    {
        Url = $"http://127.0.0.1:{port ?? FreePorts.Take(1)[0]}";
        _listener.Prefixes.Add(Url + "/");
        _listener.Start();
        _serving = ServeAsync();
    }

    public string Url { get; }

    /// <summary>What did not keep to the published API.</summary>
    public List<string> Faults { get; } = [];

    /// <summary>What requests showed as their credentials.</summary>
    public HashSet<string> Shown { get; } = [];

    /// <summary>Takes a request in the place of this server; true where it has.</summary>
    public Func<HttpListenerContext, bool>? Instead { get; set; }

    /// <summary>How many more batches of points are stored and not answered.</summary>
    public int Unanswered { get; set; }

    public IReadOnlyList<StoredRun> Runs
    {
        get
        {
            lock (_gate) return [.. _runs];
        }
    }

    /// <summary>Looks at what is stored.</summary>
    public T Look<T>(Func<IReadOnlyList<StoredRun>, T> look)
    {
        lock (_gate) return look(_runs);
    }

    /// <summary>Waits until what is stored is so: it is looked at after each request.</summary>
    public async Task UntilAsync(Func<IReadOnlyList<StoredRun>, bool> isSo)
    {
        while (!Look(isSo)) Assert.True(await _asked.WaitAsync(TimeSpan.FromMinutes(1)), "no request came");
    }

    public async ValueTask DisposeAsync()
    {
        _listener.Close();
        await _serving;
        _asked.Dispose();
    }

    /// <summary>Answers with what is no MLflow.</summary>
    public static bool Answer(HttpListenerContext context, int status, string body, string type, string? header = null, string value = "")
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = type;
        if (header is not null) context.Response.Headers[header] = value;
        context.Response.Close(Encoding.UTF8.GetBytes(body), willBlock: false);
        return true;
    }

    private async Task ServeAsync()
    {
        while (true)
        {
            HttpListenerContext context;
            try
            {
                context = await _listener.GetContextAsync();
            }
            catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
            {
                return;
            }

            if (Instead?.Invoke(context) == true) continue;
            using var reader = new StreamReader(context.Request.InputStream, Encoding.UTF8);
            var text = await reader.ReadToEndAsync();
            string answer;
            lock (_gate)
            {
                Shown.Add(context.Request.Headers["Authorization"] ?? "");
                try
                {
                    answer = Do(context.Request, text);
                }
                catch (RefusedException e)
                {
                    if (e.IsFault) Faults.Add($"{context.Request.RawUrl}: {e.Message}: {text}");
                    context.Response.StatusCode = e.Code == "RESOURCE_DOES_NOT_EXIST" ? 404 : 400;
                    answer = JsonSerializer.Serialize(new { error_code = e.Code, message = e.Message });
                }
            }

            _asked.Release();
            if (text.Contains("\"metrics\":[", StringComparison.Ordinal) && Unanswered-- > 0) context.Response.Abort();
            else Answer(context, context.Response.StatusCode, answer, "application/json");
        }
    }

    private string Do(HttpListenerRequest request, string text)
    {
        const string Root = "/api/2.0/mlflow/";
        var path = request.Url!.AbsolutePath;
        if (!path.StartsWith(Root, StringComparison.Ordinal)) throw Fault($"no path of the API: {path}");
        var (method, query) = ($"{request.HttpMethod} {path[Root.Length..]}", request.QueryString);
        var body = request.HttpMethod == "POST" ? Fields(request, text) : default;
        switch (method)
        {
            case "GET experiments/get-by-name":
                var named = query["experiment_name"] ?? throw Fault("experiment_name");
                if (!_experiments.TryGetValue(named, out var known)) throw NotThere($"experiment {named}");
                return Json(new { experiment = new { experiment_id = known, name = named, lifecycle_stage = "active" } });
            case "POST experiments/create":
                Only(body, "name");
                var name = Text(body, "name");
                if (!_experiments.TryAdd(name, $"{_experiments.Count + 1}")) throw new RefusedException("RESOURCE_ALREADY_EXISTS", name);
                return Json(new { experiment_id = _experiments[name] });
            case "POST runs/search":
                Only(body, "experiment_ids", "filter", "run_view_type", "max_results");
                var match = Filter().Match(Text(body, "filter"));
                if (!match.Success) throw Fault("filter");
                var asked = body.GetProperty("experiment_ids").EnumerateArray().Select(static id => id.GetString()).ToHashSet();
                var found = _runs.Where(run => asked.Contains(run.Experiment)
                    && run.Tags.GetValueOrDefault(match.Groups[1].Value) == match.Groups[2].Value);
                return Json(new { runs = found.Select(Shape).ToArray() });
            case "POST runs/create":
                Only(body, "experiment_id", "run_name", "start_time", "tags");
                if (!_experiments.ContainsValue(Text(body, "experiment_id"))) throw NotThere("experiment");
                if (body.GetProperty("start_time").GetInt64() < 0) throw Fault("start_time");
                var created = new StoredRun(Guid.NewGuid().ToString("n"), Text(body, "experiment_id"), Text(body, "run_name"));
                foreach (var (key, value) in Pairs(body, "tags", LongestTag)) created.Tags[key] = value;
                _runs.Add(created);
                return Json(new { run = Shape(created) });
            case "GET runs/get":
                return Json(new { run = Shape(Run(query["run_id"] ?? throw Fault("run_id"))) });
            case "POST runs/log-batch":
                Only(body, "run_id", "metrics", "params", "tags");
                Log(Run(Text(body, "run_id")), body);
                return "{}";
            case "POST runs/update":
                Only(body, "run_id", "status", "end_time");
                var updated = Run(Text(body, "run_id"));
                updated.Status = Text(body, "status");
                if (updated.Status is not ("RUNNING" or "FINISHED" or "FAILED" or "KILLED")) throw Fault("status");
                return Json(new { run_info = new { run_id = updated.Id, status = updated.Status } });
            default:
                throw Fault($"no call of the API: {method}");
        }
    }

    private void Log(StoredRun run, JsonElement body)
    {
        if (run.Stage == "deleted") throw new RefusedException("INVALID_PARAMETER_VALUE", "The run must be in the 'active' state.");
        List<StoredPoint> metrics = [];
        foreach (var metric in Items(body, "metrics"))
        {
            Only(metric, "key", "value", "timestamp", "step");
            var point = new StoredPoint(
                Name(metric), metric.GetProperty("value").GetDouble(), metric.GetProperty("timestamp").GetInt64(),
                metric.GetProperty("step").GetInt64());
            if (!double.IsFinite(point.Value) || Math.Abs(point.Value) >= 1e308) throw Fault($"value {point.Value}");
            if (point.Timestamp < 0) throw Fault("timestamp");
            metrics.Add(point);
        }

        var (parameters, tags) = (Pairs(body, "params", LongestParameter), Pairs(body, "tags", LongestTag));
        if (metrics.Count > MostMetrics || metrics.Count + parameters.Count + tags.Count > MostMetrics) throw Fault("too many metrics");
        foreach (var (key, value) in parameters)
        {
            if (run.Parameters.GetValueOrDefault(key, value) != value) throw Fault($"param {key} was {run.Parameters[key]}");
            run.Parameters[key] = value;
        }

        foreach (var (key, value) in tags) run.Tags[key] = value;
        run.Points.AddRange(metrics);
    }

    private StoredRun Run(string id) => _runs.FirstOrDefault(run => run.Id == id) ?? throw NotThere($"run {id}");

    private static object Shape(StoredRun run) => new
    {
        info = new
        {
            run_id = run.Id, experiment_id = run.Experiment, run_name = run.Name, status = run.Status, lifecycle_stage = run.Stage,
        },
        data = new
        {
            metrics = run.Points.GroupBy(static point => point.Key).Select(static group => group.MaxBy(static point => point.Step)!)
                .Select(static point => new { key = point.Key, value = point.Value, timestamp = point.Timestamp, step = point.Step }),
            @params = run.Parameters.Select(static pair => new { key = pair.Key, value = pair.Value }),
            tags = run.Tags.Select(static pair => new { key = pair.Key, value = pair.Value }),
        },
    };

    private static JsonElement Fields(HttpListenerRequest request, string text)
    {
        if (request.ContentType?.StartsWith("application/json", StringComparison.Ordinal) != true) throw Fault("content type");
        if (text.Length > MostBytes) throw Fault("too long");
        return JsonDocument.Parse(text).RootElement;
    }

    private static void Only(JsonElement body, params string[] names)
    {
        foreach (var field in body.EnumerateObject())
        {
            if (!names.Contains(field.Name)) throw Fault($"field {field.Name}");
        }
    }

    private static List<(string Key, string Value)> Pairs(JsonElement body, string name, int longest)
    {
        List<(string, string)> pairs = [];
        foreach (var pair in Items(body, name))
        {
            Only(pair, "key", "value");
            var value = Text(pair, "value");
            if (value.Length > longest) throw Fault($"value of {Name(pair)} is too long");
            pairs.Add((Name(pair), value));
        }

        return pairs.Count <= MostPairs && pairs.DistinctBy(static pair => pair.Item1).Count() == pairs.Count ? pairs : throw Fault(name);
    }

    private static string Name(JsonElement item)
    {
        var key = Text(item, "key");
        return key.Length <= LongestKey && ValidName().IsMatch(key) && !key.Split('/').Any(static part => part is "" or "." or "..")
            ? key : throw Fault($"key {key}");
    }

    private static List<JsonElement> Items(JsonElement body, string name) =>
        body.TryGetProperty(name, out var list) ? [.. list.EnumerateArray()] : [];

    private static string Text(JsonElement body, string name) =>
        body.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String
            ? value.GetString()! : throw Fault($"no {name}");

    private static string Json(object answer) => JsonSerializer.Serialize(answer);

    private static RefusedException Fault(string what) => new("INVALID_PARAMETER_VALUE", what) { IsFault = true };

    private static RefusedException NotThere(string what) => new("RESOURCE_DOES_NOT_EXIST", what);

    [GeneratedRegex(@"^[/\w.\- ]+$")]
    private static partial Regex ValidName();

    [GeneratedRegex("^tags\\.`([^`]+)` = '([^']+)'$")]
    private static partial Regex Filter();

    private sealed class RefusedException(string code, string message) : Exception(message)
    {
        public string Code => code;

        public bool IsFault { get; init; }
    }
}
