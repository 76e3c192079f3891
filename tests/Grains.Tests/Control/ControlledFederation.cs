using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using FedRLora.Abstractions.Ports;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Http;
using FedRLora.Grains.Sites;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Orleans.TestingHost;

namespace FedRLora.Grains.Tests.Control;

/// <summary>In-process silos, each with a control plane on loopback; all share one token.</summary>
internal sealed class ControlledFederation : IAsyncDisposable
{
    private readonly Dictionary<InProcessSiloHandle, ControlServer> _servers = [];
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-control-").FullName;

    private ControlledFederation(TestFederation federation) => Federation = federation;

    public TestFederation Federation { get; }

    public string TokenFile => Path.Combine(_folder, "token");

    public IReadOnlyList<ControlServer> Servers => [.. Federation.Cluster.Silos.Where(_servers.ContainsKey).Select(silo => _servers[silo])];

    /// <summary>An operator at the first silo.</summary>
    public HttpClient Operator { get; private set; } = new();

    /// <summary>A viewer at the first silo.</summary>
    public HttpClient Viewer { get; private set; } = new();

    /// <summary>Nobody at the first silo.</summary>
    public HttpClient Nobody { get; private set; } = new();

    public static async Task<ControlledFederation> StartAsync(
        string[]? sites = null, TestFederation? federation = null, bool isOfOneRun = false)
    {
        var started = new ControlledFederation(federation ?? await TestFederation.StartAsync(sites));
        foreach (var silo in started.Federation.Cluster.Silos)
        {
            var services = silo.ServiceProvider;
            var server = new ControlServer(
                ControlOptions.OnPort(0) with { TokenFile = started.TokenFile, IsOfOneRun = isOfOneRun },
                ControlServices.Of(services),
                services.GetRequiredService<ILoggerFactory>());
            await server.StartAsync(CancellationToken.None);
            started._servers.Add(silo, server);
        }

        started.Operator = started.As(TokenFiles.Read(started.TokenFile));
        started.Viewer = started.As(TokenFiles.Read(TokenFiles.ViewerOf(started.TokenFile)));
        started.Nobody = started.As(token: null);
        return started;
    }

    /// <summary>Kills a silo: its control plane ends with every open stream, and nobody is told.</summary>
    public async Task KillAsync(int silo)
    {
        var handle = Federation.Cluster.Silos[silo];
        await _servers[handle].DisposeAsync();
        _servers.Remove(handle);
        await Federation.Cluster.KillSiloAsync(handle);
    }

    /// <summary>A caller with a token at a silo.</summary>
    public HttpClient As(string? token, int silo = 0)
    {
        var client = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false, UseCookies = false })
        {
            BaseAddress = Servers[silo].Address,
        };
        if (token is not null) client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        return client;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var server in _servers.Values)
        {
            await server.StopAsync(CancellationToken.None);
            await server.DisposeAsync();
        }

        foreach (var client in new[] { Operator, Viewer, Nobody }) client.Dispose();
        await Federation.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }
}

/// <summary>One silo with a control plane for the tests of a class.</summary>
public sealed class OneControlledSilo : IAsyncLifetime
{
    internal ControlledFederation Silos { get; private set; } = null!;

    public async Task InitializeAsync() => Silos = await ControlledFederation.StartAsync();

    public async Task DisposeAsync() => await Silos.DisposeAsync();
}

/// <summary>Calls, and what they are answered.</summary>
internal static class Calls
{
    public static Task<HttpResponseMessage> PostJsonAsync(this HttpClient client, string path, string body) =>
        client.PostAsync(path, new StringContent(body, Encoding.UTF8, "application/json"));

    /// <summary>The answer's JSON; the status has to be the one named.</summary>
    public static async Task<JsonElement> ReadAsync(this Task<HttpResponseMessage> call, HttpStatusCode expected = HttpStatusCode.OK)
    {
        using var answer = await call;
        var text = await answer.Content.ReadAsStringAsync();
        Assert.True(expected == answer.StatusCode, $"{(int)answer.StatusCode}: {text}");
        return JsonDocument.Parse(text).RootElement;
    }

    /// <summary>The one line of a refusal.</summary>
    public static async Task<string> RefusalAsync(this Task<HttpResponseMessage> call, HttpStatusCode expected) =>
        (await call.ReadAsync(expected)).GetProperty("error").GetString()!;

    public static Task<HttpResponseMessage> SubmitAsync(this HttpClient client, string plan, string? run = null) =>
        client.PostAsJsonAsync("/v1/runs", new { plan, run });
}
