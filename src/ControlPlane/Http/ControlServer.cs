using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Audit;
using FedRLora.ControlPlane.Events;
using FedRLora.ControlPlane.Views;
using FedRLora.ControlPlane.Wall;
using FedRLora.Pki;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Dashboard;

namespace FedRLora.ControlPlane.Http;

/// <summary>
/// The control plane of a silo, as a part of its host that starts after the silo and stops before it. It has services of its own:
/// nothing of a web server is seen by the grains.
/// </summary>
/// <param name="options">Where it listens.</param>
/// <param name="services">The silo.</param>
/// <param name="logs">The host's logs.</param>
public sealed class ControlServer(ControlOptions options, ControlServices services, ILoggerFactory logs) : IHostedService, IAsyncDisposable
{
    private WebApplication? _app;
    private IdentityUpkeep? _upkeep;
    private Oidc? _oidc;

    /// <summary>Its address, once it has started.</summary>
    public Uri Address { get; private set; } = new("http://127.0.0.1");

    /// <summary>The file with its token, once it has started; empty where it has none.</summary>
    public string TokenFile { get; private set; } = "";

    /// <summary>What is mapped, as method and path, once it has started.</summary>
    internal IEnumerable<string> Mapped => ((IEndpointRouteBuilder)_app!).DataSources.SelectMany(static source => source.Endpoints)
        .Select(static endpoint => endpoint.Metadata.GetMetadata<ControlRoute>()).OfType<ControlRoute>()
        .Select(static route => $"{route.Method} {route.Pattern}");

    /// <summary>An address that lets one browser in, once it has started.</summary>
    public Uri EntranceAddress() =>
        new(Address, $"{Routes.Enter.Pattern}?code="
            + _app!.Services.GetRequiredService<Entrance>().Code(options.Tls is null ? Guests.OfThisMachine : Guests.OfThisSilo));

    /// <inheritdoc/>
    /// <exception cref="BadInputException">The token's file cannot be used, or something else listens on the port.</exception>
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        options.Checked();
        var address = options.Address.Port == 0
            ? new IPEndPoint(options.Address.Address, FreePort(options.Address.Address)) : options.Address;
        var identity = options.Tls is not { } files ? null : services.Identity ?? TlsIdentity.Open(
            files, options.TrustDomain, [CertificateUse.Server], services.Time, logs.CreateLogger<TlsIdentity>(), options.IsPublic);
        var table = options.TokensFile is { } hashed ? TokenTable.Open(hashed, services.Time, logs.CreateLogger<TokenTable>()) : null;
        TokenFile = options.TokenFile ?? (identity is null ? TokenFiles.PathFor(address.Port) : "");
        var (token, viewer) = TokenFile.Length > 0 ? TokenFiles.Ensure(TokenFile) : ("", "");
        _app = Build(address, (token, viewer), identity, table);
        try
        {
            await _app.StartAsync(cancellationToken);
        }
        catch (IOException e) when (e.InnerException is SocketException or Microsoft.AspNetCore.Connections.AddressInUseException)
        {
            Forget();
            throw new BadInputException($"--control: nothing can listen on {address}: {e.InnerException.Message}; give another port", e);
        }

        Address = new Uri($"{(identity is null ? "http" : "https")}://{address}");
        if (identity is not null)
            _upkeep = new(identity, _app.Services.GetRequiredService<OpenConnections>(), services.Time,
                logs.CreateLogger<IdentityUpkeep>());
    }

    /// <inheritdoc/>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        if (_app is null) return;
        if (_upkeep is not null) await _upkeep.DisposeAsync();
        _upkeep = null;
        await _app.StopAsync(cancellationToken);
        Forget();
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_upkeep is not null) await _upkeep.DisposeAsync();
        _upkeep = null;
        if (_app is not null) await _app.DisposeAsync();
        _oidc?.Dispose();
    }

    // Nobody chose the file, and the next process makes its own.
    private void Forget()
    {
        if (options.TokenFile is null && TokenFile.Length > 0) TokenFiles.Remove(TokenFile);
    }

    private WebApplication Build(IPEndPoint address, (string Operator, string Viewer) tokens, TlsIdentity? identity, TokenTable? table)
    {
        var builder = WebApplication.CreateEmptyBuilder(
            new WebApplicationOptions { ApplicationName = typeof(ControlServer).Assembly.GetName().Name });
        builder.Services
            .AddSingleton(logs).AddSingleton(options).AddSingleton(services).AddSingleton(services.Time).AddSingleton(services.Live)
            .AddSingleton(static silo => new RunFeeds(silo.GetRequiredService<ControlServices>()))
            .AddSingleton(static silo => new ManyRuns(silo.GetRequiredService<RunFeeds>(), silo.GetRequiredService<ControlServices>().Time))
            .AddSingleton<RunCalls>()
            .AddSingleton<Entrance>().AddSingleton<Answers>().AddSingleton(new HostNames(identity, options.Names))
            .Configure<HostOptions>(static host => host.ShutdownTimeout = TimeSpan.FromSeconds(1)) // streams have no end of their own
            .AddRouting().Configure<RouteHandlerOptions>(static handlers => handlers.ThrowOnBadRequest = true)
            .ConfigureHttpJsonOptions(static json => Configure(json.SerializerOptions)).AddOpenApi("v1", Document.Configure);
        _oidc = options.Oidc is { } issuer ? new Oidc(issuer, services.Time, logs.CreateLogger<Oidc>()) : null;
        _oidc?.AddTo(builder.Services);
        if (identity is not null) builder.Services.AddSingleton(identity).AddSingleton<OpenConnections>().AddSingleton<ControlTls>();
        builder.Services.AddSingleton(new KnownCallers(table, _oidc, identity, services.Time));
        AddAccess(builder.Services, new TokenOptions
        {
            Operator = tokens.Operator, Viewer = tokens.Viewer, Port = address.Port, IsTls = identity is not null,
            AsksBrowsers = options.TokenFile is not null && identity is null,
        });
        builder.Services.AddSingleton(new AuditStore(services.Stores.Job));
        if (!options.IsOfOneRun)
            builder.Services.AddSingleton(static silo => new AuditLog(
                silo.GetRequiredService<ControlServices>().Silo.Name, silo.GetRequiredService<AuditStore>(),
                silo.GetRequiredService<TimeProvider>(), silo.GetRequiredService<ILogger<AuditLog>>())).AddSingleton<AuditTrail>();
        foreach (var service in services.Dashboard) builder.Services.Add(service);
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = RequestChecks.MostBodyBytes;
            kestrel.Listen(address, listen => kestrel.ApplicationServices.GetService<ControlTls>()?.Use(listen));
        });
        var app = builder.Build();
        app.UseMiddleware<Answers>();
        var checks = new RequestChecks(app.Services.GetRequiredService<HostNames>());
        app.Use(SafeHeadersAsync).Use(checks.InvokeAsync).Use(Heads.InvokeAsync);
        app.UseRouting().Use(Unrouted.InvokeAsync);
        var trail = app.Services.GetService<AuditTrail>(); // a process of one run is its user's own
        if (trail is not null) app.Use(trail.RefusalsAsync);
        app.UseAuthentication().UseAuthorization();
        if (trail is not null) app.Use(trail.ActionsAsync);
        Map(app);
        if (services.Dashboard.Count > 0)
            app.MapOrleansDashboard(Routes.OrleansDashboard.Pattern).RequireAuthorization(Routes.OrleansDashboard.Policy.ToString());
        return app;
    }

    private static void Map(WebApplication app)
    {
        Probes.Add(app);
        RunRoutes.Add(app);
        EventRoutes.Add(app);
        ResultRoutes.Add(app);
        PictureRoutes.Add(app);
        SiteRoutes.Add(app);
        ClusterRoutes.Add(app);
        AuditRoutes.Add(app);
        PageRoutes.Add(app);
        WallRoutes.Add(app);
        app.MapOpenApi(Routes.OpenApi.Pattern.Replace("v1", "{documentName}", StringComparison.Ordinal))
            .RequireAuthorization(Routes.OpenApi.Policy.ToString()).WithMetadata(Routes.OpenApi);
    }

    private static void Configure(JsonSerializerOptions json)
    {
        foreach (var converter in Json.Lines.Converters) json.Converters.Add(converter);
        json.DefaultIgnoreCondition = Json.Lines.DefaultIgnoreCondition;
        json.Encoder = Json.Lines.Encoder;
        json.NumberHandling = JsonNumberHandling.Strict;
        // one reading of a body: the audit record's is the route's
        (json.PropertyNameCaseInsensitive, json.AllowDuplicateProperties) = (false, false);
        json.UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow;
        json.RespectRequiredConstructorParameters = true;
        json.RespectNullableAnnotations = true;
    }

    // Another scheme that signs callers in, with the same claims, changes no route.
    private static void AddAccess(IServiceCollection services, TokenOptions tokens) => services
        .AddAuthorization(Principals.Configure)
        .Configure<TokenOptions>(TokenOptions.Scheme, token =>
            (token.Operator, token.Viewer, token.Port, token.AsksBrowsers, token.IsTls) =
                (tokens.Operator, tokens.Viewer, tokens.Port, tokens.AsksBrowsers, tokens.IsTls))
        .AddTransient<CallerHandler>().AddWebEncoders()
        .AddAuthenticationCore(static schemes =>
        {
            schemes.DefaultScheme = TokenOptions.Scheme;
            schemes.AddScheme<CallerHandler>(TokenOptions.Scheme, displayName: null);
        });

    // Whatever is answered is what it says, is nobody's picture or frame, and loads nothing from elsewhere.
    private static Task SafeHeadersAsync(HttpContext context, RequestDelegate next)
    {
        var headers = context.Response.Headers;
        headers.XContentTypeOptions = "nosniff";
        headers.CacheControl = "no-store";
        headers["Referrer-Policy"] = "no-referrer";
        headers["Cross-Origin-Resource-Policy"] = "same-origin";
        headers.ContentSecurityPolicy = context.Request.Path.StartsWithSegments(Routes.OrleansDashboard.Pattern)
            ? "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
            : "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"; // the report's cells
        return next(context);
    }

    private static int FreePort(IPAddress address)
    {
        using var listener = new TcpListener(address, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
