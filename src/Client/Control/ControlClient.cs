using System.Collections.Concurrent;
using System.Globalization;
using System.Net.Http.Headers;
using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Http;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Control;

/// <summary>
/// Speaks to the control planes of silos over HTTP. Any silo answers for all; the next one named is asked where one cannot be reached.
/// No redirect is followed, and no proxy of the environment is asked on the way to this machine: the token goes to the address named.
/// </summary>
/// <param name="servers">The silos, in the order in which they are asked.</param>
/// <param name="listsRuns">The command that lists their runs, for messages.</param>
/// <param name="patience">How long an answer may take.</param>
internal sealed class ControlClient(IReadOnlyList<NamedServer> servers, string listsRuns, ControlPatience? patience = null) : IDisposable
{
    private const string Document = "application/json", EventStream = "text/event-stream", JsonLines = "application/jsonl",
        HowToStart = "start one with fedrlora silo --site NAME, or name the address that one printed with --server";

    private const long MostOfADocument = 64 << 20;
    private const int MostOfAnError = 64 << 10;
    private static readonly TimeSpan NoEnd = TimeSpan.FromDays(1);

    // What a record says cannot be missing is not, whatever answers.
    private static readonly JsonSerializerOptions Reading = new(Json.Lines)
    {
        RespectNullableAnnotations = true,
        TypeInfoResolver = new DefaultJsonTypeInfoResolver
        {
            Modifiers =
            {
                static type =>
                {
                    foreach (var property in type.Properties)
                        property.IsRequired |= property.AssociatedParameter is { HasDefaultValue: false, IsNullable: false }
                            && !property.PropertyType.IsValueType;
                },
            },
        },
    };

    private readonly ControlPatience _patience = patience ?? new();
    private readonly Dictionary<NamedServer, HttpClient> _connections = [];
    private readonly ConcurrentDictionary<NamedServer, string> _refusals = new(); // why a server's certificate was not accepted
    private int _current;

    /// <summary>The path of a run.</summary>
    public static string Run(string run) => $"/v1/runs/{Uri.EscapeDataString(run)}";

    /// <summary>The path of a client of a run.</summary>
    public static string Client(string run, string client) => $"{Run(run)}/clients/{Uri.EscapeDataString(client)}";

    /// <summary>How long an answer may take.</summary>
    public ControlPatience Patience => _patience;

    /// <summary>A document.</summary>
    public async Task<T> GetAsync<T>(string path, CancellationToken cancellationToken, TimeSpan? within = null)
    {
        using var answer = await AskAsync(new(HttpMethod.Get, path, Document), within ?? _patience.Answer, cancellationToken);
        return await ReadAsync<T>(answer, cancellationToken);
    }

    /// <summary>The document that a call is answered with.</summary>
    public async Task<T> PostAsync<T>(string path, object body, TimeSpan within, CancellationToken cancellationToken)
    {
        using var answer = await AskAsync(new(HttpMethod.Post, path, Document, body), within, cancellationToken);
        return await ReadAsync<T>(answer, cancellationToken);
    }

    /// <summary>Has a run do something.</summary>
    /// <exception cref="BadInputException">It is refused.</exception>
    public Task<Steered> SteerAsync(string path, object body, CancellationToken cancellationToken) =>
        PostAsync<Steered>(path, body, _patience.Call, cancellationToken);

    /// <summary>Where a run stands.</summary>
    /// <exception cref="BadInputException">There is no such run.</exception>
    public async Task<RunLine> StandingAsync(string run, CancellationToken cancellationToken) =>
        (await GetAsync<RunList>(Routes.ListRuns.Pattern, cancellationToken)).Runs.FirstOrDefault(one => one.Run == run)
        ?? throw new BadInputException($"There is no run {run}; {listsRuns} lists them.");

    /// <summary>Runs side by side, with differences to the first.</summary>
    /// <exception cref="BadInputException">There is no such run.</exception>
    public Task<Comparison> CompareAsync(IReadOnlyList<string> runs, CancellationToken cancellationToken) => GetAsync<Comparison>(
        $"{Routes.Compare.Pattern}?{string.Join('&', runs.Select(static run => $"run={Uri.EscapeDataString(run)}"))}", cancellationToken,
        _patience.Call);

    /// <summary>The plan of a run.</summary>
    /// <exception cref="BadInputException">There is no such run.</exception>
    public async Task<PlanFile> PlanAsync(string run, CancellationToken cancellationToken)
    {
        await using var plan = await FileAsync(
            $"{Run(run)}/plan", "application/yaml", _patience.Answer, MostOfADocument, cancellationToken);
        using var reader = new StreamReader(plan.Content, Encoding.UTF8);
        return new(run, await reader.ReadToEndAsync(cancellationToken));
    }

    /// <summary>Committed rounds after one, in order.</summary>
    public async IAsyncEnumerable<RoundSummary> RoundsAsync(
        string run, int after, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var path = string.Create(CultureInfo.InvariantCulture, $"{Run(run)}/rounds?after={after}");
        using var answer = await AskAsync(new(HttpMethod.Get, path, JsonLines), _patience.Answer, cancellationToken);
        if (answer.Type != JsonLines) throw ControlErrors.NoSilo(answer.Server, $"{answer.Type} instead of {JsonLines}");
        await using var content = await BodyAsync(answer, _patience.Silence, Part.Line, MostOfADocument, cancellationToken);
        using var reader = new StreamReader(content, Encoding.UTF8);
        while (await reader.ReadLineAsync(cancellationToken) is { } line) yield return RoundOf(answer.Server, line);
    }

    /// <summary>Something that is no JSON, as it comes; the caller reads it to its end.</summary>
    /// <param name="path">What is asked for.</param>
    /// <param name="type">The media type that it has.</param>
    /// <param name="within">How long it may take until it begins.</param>
    /// <param name="most">The bound in bytes.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    public async Task<ControlFile> FileAsync(
        string path, string type, TimeSpan within, long most, CancellationToken cancellationToken)
    {
        var answer = await AskAsync(new(HttpMethod.Get, path, type), within, cancellationToken);
        if (answer.Type == type)
            return new(await BodyAsync(answer, _patience.Silence, Part.Whole, most, cancellationToken), answer.Response);
        using (answer) throw ControlErrors.NoSilo(answer.Server, $"{answer.Type ?? "nothing known"} instead of {type}");
    }

    /// <summary>Events of a run after one, until the stream ends or breaks.</summary>
    /// <exception cref="NoAnswerException">No silo answers, or the stream broke.</exception>
    public IAsyncEnumerable<SseItem<string>> EventsAsync(string run, string? after, CancellationToken cancellationToken) => EventsAsync(
        new(HttpMethod.Get, $"{Run(run)}/events", EventStream, After: after), _patience.Answer, _patience.Silence, cancellationToken);

    /// <summary>Events that a call is answered with.</summary>
    /// <exception cref="NoAnswerException">No silo answers, or the stream broke.</exception>
    public IAsyncEnumerable<SseItem<string>> EventsAsync(string path, object body, CancellationToken cancellationToken) =>
        EventsAsync(new(HttpMethod.Post, path, EventStream, body), _patience.Call, _patience.Call, cancellationToken);

    /// <summary>What an event holds.</summary>
    /// <exception cref="EnvironmentException">It holds something else.</exception>
    public static T Read<T>(string data)
    {
        try
        {
            return JsonSerializer.Deserialize<T>(data, Reading) ?? throw new JsonException("null");
        }
        catch (JsonException e)
        {
            throw new EnvironmentException(
                "an event of the silo is not the JSON that is expected: it is of another version, or no silo", e);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var connection in _connections.Values) connection.Dispose();
    }

    private HttpClient Connection(NamedServer server) => new(new SocketsHttpHandler
    {
        SslOptions = (server.Trust ?? ServerTrust.OfMachine).Options(why => _refusals[server] = why),
        AllowAutoRedirect = false, UseProxy = !server.Address.IsLoopback, UseCookies = false, MaxResponseHeadersLength = 32,
        MaxResponseDrainSize = 0, PooledConnectionLifetime = TimeSpan.FromMinutes(5),
        ConnectCallback = server.Address.IsLoopback ? (_, token) => server.Address.ConnectAsync(token) : null,
        ConnectTimeout = ServerAddress.ConnectWithin,
    })
    {
        Timeout = NoEnd,
    };

    private HttpClient ConnectionTo(NamedServer server)
    {
        lock (_connections)
            return _connections.TryGetValue(server, out var known) ? known : _connections[server] = Connection(server);
    }

    private static RoundSummary RoundOf(NamedServer server, string line)
    {
        try
        {
            return RoundLine.Parse(line, "a round");
        }
        catch (BadInputException e)
        {
            throw ControlErrors.NoSilo(server, ControlErrors.Line(e.Message), e);
        }
    }

    private async IAsyncEnumerable<SseItem<string>> EventsAsync(
        Question question, TimeSpan within, TimeSpan silence, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var answer = await AskAsync(question, within, cancellationToken);
        if (answer.Type != EventStream) throw ControlErrors.NoSilo(answer.Server, $"{answer.Type} instead of {EventStream}");
        await using var content = await BodyAsync(answer, silence, Part.Event, MostOfADocument, cancellationToken);
        var events = SseParser.Create(content, static (_, data) => Encoding.UTF8.GetString(data)).EnumerateAsync(cancellationToken);
        await foreach (var one in events) yield return one;
    }

    /// <summary>The first answer of a silo, in the order in which they are named from the one that answered last.</summary>
    private async Task<Answer> AskAsync(Question question, TimeSpan within, CancellationToken cancellationToken)
    {
        for (var tries = 1; ; tries++)
        {
            try
            {
                return await AskAsync(servers[_current], question, within, cancellationToken);
            }
            catch (NoAnswerException e) when (tries < servers.Count && (question.Method == HttpMethod.Get || e.WasNotSent))
            {
                _current = (_current + 1) % servers.Count;
            }
            catch (NoAnswerException e) when (servers.Count > 1 && e.WasNotSent)
            {
                _current = (_current + 1) % servers.Count;
                throw new NoAnswerException(
                    $"no silo answers at {string.Join(", ", servers.Select(static one => one.Address))}; {HowToStart}", e)
                {
                    WasNotSent = true,
                };
            }
        }
    }

    private async Task<Answer> AskAsync(NamedServer server, Question question, TimeSpan within, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(question.Method, server.Address.Of(question.Path));
        if (server.Token.Value is { } token) request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        request.Headers.Accept.Add(new(question.Accept));
        if (question.After is { } after) request.Headers.TryAddWithoutValidation("Last-Event-ID", after);
        if (question.Body is { } body)
        {
            request.Content = new ByteArrayContent(JsonSerializer.SerializeToUtf8Bytes(body, Json.Lines))
            {
                Headers = { ContentType = new(Document) },
            };
        }

        var response = await SendAsync(server, request, within, cancellationToken);
        if (response.IsSuccessStatusCode) return new(server, response);
        using (response) throw await ErrorAsync(new(server, response), cancellationToken);
    }

    private async Task<HttpResponseMessage> SendAsync(
        NamedServer server, HttpRequestMessage request, TimeSpan within, CancellationToken cancellationToken)
    {
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        enough.CancelAfter(within);
        _refusals.TryRemove(server, out _);
        try
        {
            var answer = ConnectionTo(server).SendAsync(request, HttpCompletionOption.ResponseHeadersRead, enough.Token);
            while (await Task.WhenAny(answer, Task.Delay(_patience.Answer, enough.Token)) != answer && !enough.IsCancellationRequested)
            {
                // what takes long by its nature is waited for as long as the silo lives
                if (!await LivesAsync(server, cancellationToken)) await enough.CancelAsync();
            }

            return await answer;
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
        {
            throw new NoAnswerException($"{server.Address} does not answer; what listens there may be stopped, or be no silo", e);
        }
        catch (HttpRequestException e)
        {
            if (server.Trust?.Shown is { } shown && await IsRefusedAsync(server, e.HttpRequestError, cancellationToken))
            {
                throw new EnvironmentException(
                    $"{server.Address} answers, but not to the certificate {shown}: it refuses it, and its log says why", e);
            }

            throw e.HttpRequestError switch
            {
                HttpRequestError.ConnectionError or HttpRequestError.NameResolutionError =>
                    new NoAnswerException($"no silo answers at {server.Address}; {HowToStart}", e) { WasNotSent = true },
                HttpRequestError.SecureConnectionError => new EnvironmentException($"{server.Address}: no secure connection: "
                    + (_refusals.GetValueOrDefault(server) ?? ControlErrors.Line((e.InnerException ?? e).Message)), e),
                HttpRequestError.InvalidResponse or HttpRequestError.ConfigurationLimitExceeded or HttpRequestError.HttpProtocolError =>
                    ControlErrors.NoSilo(server, "what it sends is not HTTP as it should be", e),
                _ => new NoAnswerException($"the connection to {server.Address} was lost before an answer came", e),
            };
        }
    }

    // A server that does not accept a certificate says so by closing, in or after the handshake as the version has it: what tells it from
    // one that is gone is that it lives for callers who show none.
    private async Task<bool> IsRefusedAsync(NamedServer server, HttpRequestError error, CancellationToken cancellationToken)
    {
        if (_refusals.ContainsKey(server)
            || error is HttpRequestError.ConnectionError or HttpRequestError.NameResolutionError) return false;
        using var unshown = Connection(server with { Trust = server.Trust?.Unshown });
        return await LivesAsync(server, unshown, cancellationToken);
    }

    private Task<bool> LivesAsync(NamedServer server, CancellationToken cancellationToken) =>
        LivesAsync(server, ConnectionTo(server), cancellationToken);

    private async Task<bool> LivesAsync(NamedServer server, HttpClient connection, CancellationToken cancellationToken)
    {
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        enough.CancelAfter(_patience.Sign);
        try
        {
            using var answer = await connection.GetAsync(
                server.Address.Of(Routes.Live.Pattern), HttpCompletionOption.ResponseHeadersRead, enough.Token);
            return answer.IsSuccessStatusCode;
        }
        catch (Exception e) when (e is HttpRequestException
            || e is OperationCanceledException && !cancellationToken.IsCancellationRequested)
        {
            return false;
        }
    }

    private async Task<Exception> ErrorAsync(Answer answer, CancellationToken cancellationToken)
    {
        var body = new byte[MostOfAnError];
        var length = 0;
        try
        {
            await using var content = await BodyAsync(answer, _patience.Silence, Part.Whole, long.MaxValue, cancellationToken);
            using var enough = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            enough.CancelAfter(_patience.Answer);
            while (length < body.Length && await content.ReadAsync(body.AsMemory(length), enough.Token) is > 0 and var read) length += read;
        }
        catch (NoAnswerException)
        {
            // What came of it says enough, or that it is no silo's.
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            // As above.
        }

        return ControlErrors.Of(answer.Server, answer.Response.StatusCode, answer.Type, body.AsSpan(0, length), listsRuns);
    }

    private static async Task<AnswerStream> BodyAsync(
        Answer answer, TimeSpan silence, Part part, long most, CancellationToken cancellationToken) =>
        new(await answer.Response.Content.ReadAsStreamAsync(cancellationToken), answer.Server, silence, part, most);

    private async Task<T> ReadAsync<T>(Answer answer, CancellationToken cancellationToken)
    {
        await using var content = await BodyAsync(answer, _patience.Silence, Part.Whole, MostOfADocument, cancellationToken);
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        enough.CancelAfter(_patience.Document);
        try
        {
            using var document = await JsonDocument.ParseAsync(content, cancellationToken: enough.Token);
            ControlErrors.RequireOwn(answer.Server, document.RootElement);
            return document.RootElement.Deserialize<T>(Reading)
                ?? throw ControlErrors.NoSilo(answer.Server, "its answer is empty");
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
        {
            throw new NoAnswerException(string.Create(CultureInfo.InvariantCulture,
                $"{answer.Server.Address} has not come to the end of its answer for {_patience.Document.TotalSeconds:0.#} s"), e);
        }
        catch (JsonException e)
        {
            throw ControlErrors.NoSilo(answer.Server, "its answer is not the JSON that is expected", e);
        }
    }

    private sealed record Question(HttpMethod Method, string Path, string Accept, object? Body = null, string? After = null);

    private sealed record Answer(NamedServer Server, HttpResponseMessage Response) : IDisposable
    {
        public string? Type => Response.Content.Headers.ContentType?.MediaType;

        public void Dispose() => Response.Dispose();
    }
}

/// <summary>A file as it comes.</summary>
/// <param name="Content">Its bytes.</param>
/// <param name="Response">Whose body it is.</param>
internal sealed record ControlFile(Stream Content, HttpResponseMessage Response) : IAsyncDisposable
{
    public async ValueTask DisposeAsync()
    {
        await Content.DisposeAsync();
        Response.Dispose();
    }
}

/// <summary>How long a silo may take.</summary>
internal sealed record ControlPatience
{
    /// <summary>Until an answer begins, where nothing has to be worked out.</summary>
    public TimeSpan Answer { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Until a document has come to its end.</summary>
    public TimeSpan Document { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>The longest silence within an answer.</summary>
    public TimeSpan Silence { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Until it says that it lives.</summary>
    public TimeSpan Sign { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Until a call has done what asks the sites of a run first.</summary>
    public TimeSpan Call { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Until clients are scored, an adapter is made, a run is checked.</summary>
    public TimeSpan Work { get; init; } = TimeSpan.FromHours(1);

    /// <summary>How long a run is followed without an answer of any silo.</summary>
    public TimeSpan Watching { get; init; } = TimeSpan.FromMinutes(1);
}
