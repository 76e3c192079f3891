using System.CommandLine;
using System.Net;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Cluster;
using FedRLora.Client.Control;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Http;
using FedRLora.Pki;
using FedRLora.Silo;
using FedRLora.Silo.Clustering;
using FedRLora.Silo.Storage;
using FedRLora.Silo.Tls;
using FedRLora.Silo.Trackers;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora silo --site NAME</c>: a machine's part of a federation over processes or over machines.</summary>
internal static class SiloCommand
{
    private static readonly TimeSpan JoinPatience = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan StartPatience = TimeSpan.FromMinutes(1);

    public static Command Create()
    {
        var site = new Option<string[]>("--site")
        {
            Description = "The site whose clients may run here; repeat it for more",
            Required = true,
        };
        var name = new Option<string?>("--name") { Description = "The silo's name; by default SITE-PORT" };
        var root = new Option<string>("--root")
        {
            Description = "Where relative model and data paths of plans start from",
            DefaultValueFactory = static _ => ".",
        };
        var store = new Option<string>("--store")
        {
            Description = "The job's blobs, the same for all silos: a folder, or https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]",
            DefaultValueFactory = static _ => Path.Combine("runs", "cluster"),
        };
        var siteStore = new Option<string?>("--site-store")
        {
            Description = "This site's heads and optimizer states: a folder or a container's URL; by default the job's store",
        };
        var mode = new Option<string>("--store-mode")
        {
            Description = "Who may use the folders of the stores: private, its owner alone (default), or shared-group, "
                + "for silos under different users of one group",
            DefaultValueFactory = static _ => StoreSpec.Modes[0],
        };
        mode.AcceptOnlyFromAmong([.. StoreSpec.Modes]);
        var durability = new Option<string>("--durability")
        {
            Description = "What a power cut may take of the folders of the stores: full, nothing that is committed (default), or fast",
            DefaultValueFactory = static _ => StoreSpec.Durabilities[0],
        };
        durability.AcceptOnlyFromAmong([.. StoreSpec.Durabilities]);
        var cluster = ClusterOptions.Location();
        var clusterId = ClusterOptions.Id();
        var listen = AddressOptions.Listen();
        var advertise = AddressOptions.Advertise();
        var join = SharedOptions.Port("--join",
            "Silo port of the first silo, which keeps the membership where no --cluster does; without it this is the first silo");
        var port = SharedOptions.Port("--port",
            $"Silo port; by default {SiloPorts.Silo} for the first silo and off loopback, and a free one for others");
        var gateway = SharedOptions.Port("--gateway",
            $"Gateway port; by default {SiloPorts.Gateway} for the first silo and off loopback, and a free one for others");
        var resend = SharedOptions.Number("--resend-after",
            "Seconds of silence after which work is sent again; by default 10", 0.1, 86_400);
        var maySend = MaySend.Create();
        var work = new WorkOptions();
        var clientMetrics = SharedOptions.Number("--client-metrics",
            "Series of metrics that may have a client as label, three for each client of a run; by default none", 0, 1_000_000);
        var mlflow = SharedOptions.Mlflow(
            "Send points of the runs that this silo coordinates to this MLflow server; give it to every silo");
        var logFormat = ConsoleLogs.Format();
        var tls = new TlsOptions();
        var command = new Command("silo", "Run one silo of a federation over processes, on loopback or, with --tls, over machines")
        {
            site, name, root, store, siteStore, mode, durability, cluster, clusterId, listen, advertise, join, port, gateway, resend,
            maySend, work.Lanes, work.Devices, clientMetrics, mlflow, logFormat,
        };
        foreach (var option in tls.All) command.Add(option);
        var control = ControlPlaneOptions.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var sites = parsed.GetRequiredValue(site);
            foreach (var named in sites.Where(static named => named != "*")) Identifiers.Check("--site", named);
            var (freeSilo, freeGateway) = SiloPorts.Free();
            var location = parsed.GetValue(cluster) ?? new ClusterLocation.Localhost();
            if (location.IsOutside && parsed.GetValue(join) is not null)
                throw new BadInputException(
                    $"--join and --cluster {location} exclude each other: with a membership kept outside there is no first silo");
            var first = location is ClusterLocation.Localhost && parsed.GetValue(join) is null;
            var listening = parsed.GetRequiredValue(listen);
            // others have to know, and firewalls to let through, the ports of a silo that is not on loopback
            var known = first || !IPAddress.IsLoopback(listening);
            var place = work.Read(parsed);
            var options = new SiloOptions
            {
                SiloPort = parsed.GetValue(port) ?? (known ? SiloPorts.Silo : freeSilo),
                GatewayPort = parsed.GetValue(gateway) ?? (known ? SiloPorts.Gateway : freeGateway),
                Listen = listening,
                Advertise = await AddressOptions.ResolveAsync(parsed.GetValue(advertise), listening, cancellationToken),
                PrimaryPort = parsed.GetValue(join), Cluster = location,
                ClusterId = Identifiers.Check("--cluster-id", parsed.GetRequiredValue(clusterId)), Name = "", Sites = sites,
                Root = Path.GetFullPath(parsed.GetRequiredValue(root)), Store = parsed.GetRequiredValue(store),
                SiteStore = parsed.GetValue(siteStore), ResendAfter = TimeSpan.FromSeconds(parsed.GetValue(resend) ?? 10), Leased = true,
                MaySend = MaySend.Read(parsed, maySend, sites), Lanes = place.Lanes, Devices = place.Devices,
                ClientMetrics = parsed.GetValue(clientMetrics) ?? 0,
                Mlflow = parsed.GetValue(mlflow) is { } tracker ? MlflowServer.Parse(tracker) : null,
            };
            var kept = StoreSpec.Of(parsed.GetRequiredValue(mode), parsed.GetRequiredValue(durability));
            options = options with { StoreMode = kept.Mode!.Value, Durability = kept.Durability!.Value };
            options = options with { Name = parsed.GetValue(name) ?? $"{options.Sites[0]}-{options.SiloPort}" };
            var (certificate, domain) = tls.Read(parsed, options.Name, sites);
            options = options with
            {
                Tls = certificate, TrustDomain = domain,
                Control = control.Read(parsed, first ? ControlOptions.DefaultPort : 0, certificate, domain,
                    [$"{options.Reached}", .. parsed.GetValue(advertise) is { } asked ? [asked] : Array.Empty<string>()]),
            };
            Interruption.Form = line => ConsoleLogs.Form(parsed.GetRequiredValue(logFormat), LogLevel.Information, line);
            AddressOptions.Check(options);
            await CheckAsync(options, cancellationToken);
            if (options.SiteStore is null && parsed.GetResult(maySend) is not null)
            {
                await ConsoleLogs.SayAsync(parsed.InvocationConfiguration.Error, parsed.GetRequiredValue(logFormat), LogLevel.Warning,
                    "warning: --may-send is about updates; without --site-store "
                    + "the heads and optimizer states of the site's clients lie in the job's store");
            }

            using var host = SiloHost.Create(options, builder => builder.Logging.AddStandardError(parsed.GetRequiredValue(logFormat)));
            await RequireNoCloneAsync(host, options, cancellationToken);
            // before it listens, or the other new silos would take it for an old one
            await host.Services.GetRequiredService<LeaseKeeper>().EnterAsync(cancellationToken);
            await StartAsync(host, options, cancellationToken);
            await parsed.InvocationConfiguration.Output.WriteLineAsync(
                $"silo {options.Name} serves {string.Join(", ", options.Sites)}: silo port {options.SiloPort}"
                + (options.Reached.Equals(IPAddress.Loopback) ? "" : $" of {options.Reached}")
                + (options.Listen.Equals(options.Reached) ? ", " : $" (listening on {options.Listen}), ")
                + $"gateway {options.GatewayPort}, control {ShownOf(host.Services.GetRequiredService<ControlServer>().Address)}, "
                + $"store {StoreLocation.Parse(StoreRole.Job, options.Store).Name}"
                + (parsed.GetValue(maySend) is { Length: > 0 } words ? $", may send {string.Join("; ", words)}" : ""));
            if (control.ShowsOrleans(parsed))
            {
                var server = host.Services.GetRequiredService<ControlServer>();
                await parsed.InvocationConfiguration.Output.WriteLineAsync(
                    $"Orleans' dashboard: {new Uri(server.Address, Routes.OrleansDashboard.Pattern)}, for a browser that was let in by: "
                    + $"{server.EntranceAddress()}");
            }

            try
            {
                var reason = await host.Services.GetRequiredService<SiloEnding>().Reason.WaitAsync(cancellationToken);
                await ConsoleLogs.SayAsync(
                    parsed.InvocationConfiguration.Error, parsed.GetRequiredValue(logFormat), LogLevel.Error, reason);
                // at once: a silo that takes its leave works on for seconds, beside a cluster that it is not part of
                Environment.Exit(ExitCode.Environment);
            }
            catch (OperationCanceledException)
            {
                // Ctrl-C or SIGTERM: what runs is abandoned, the other silos of the site take it over.
            }

            await host.StopAsync(CancellationToken.None);
            return ExitCode.Done;
        });
        return command;
    }

    // Plain HTTP goes without saying: it is on loopback alone.
    private static string ShownOf(Uri control) =>
        control.Scheme == Uri.UriSchemeHttps ? control.GetLeftPart(UriPartial.Authority) : control.Authority;

    // Half of a store's files would be out of the other silos' reach, which shows as soon as they read one.
    private static void CheckMode(string folder, StoreMode asked)
    {
        if (StorePermissions.ModeOf(folder) is not { } made || made == asked) return;
        var (was, wanted) = (StoreSpec.Modes[(int)made], StoreSpec.Modes[(int)asked]);
        throw new BadInputException($"--store-mode: the store {folder} was made {was}, not {wanted}; "
            + $"give --store-mode {was}, or another folder.");
    }

    private static async Task CheckAsync(SiloOptions options, CancellationToken cancellationToken)
    {
        var job = StoreLocation.Parse(StoreRole.Job, options.Store);
        var site = options.SiteStore is { } own ? StoreLocation.Parse(StoreRole.Site, own) : job;
        foreach (var location in new[] { job, site }.Where(static location => location.IsFolder))
            CheckMode(location.Name, options.StoreMode);
        if (options.SiloPort == options.GatewayPort)
            throw new BadInputException(
                $"--port and --gateway are both {options.SiloPort}; a silo listens on two ports, give another --gateway");
        if (options.SiloPort == options.PrimaryPort)
            throw new BadInputException(
                $"--port and --join are both {options.SiloPort}; --join is the port of another silo, give another --port");
        var first = options.Cluster is ClusterLocation.Localhost && options.PrimaryPort is null;
        Loopback.RequireFree(new IPEndPoint(options.Listen, options.SiloPort),
            first ? $"join that silo with --join {options.SiloPort}, or give --port and --gateway" : "give another --port");
        Loopback.RequireFree(new IPEndPoint(options.Listen, options.GatewayPort), "give another --gateway");
        if (options.Control is { Address: { Port: > 0 } control } && IPAddress.IsLoopback(control.Address))
            Loopback.RequireFree(control, "give another --control");
        if (options.Cluster is ClusterLocation.Redis redis) await RedisMembership.RequireAsync(redis, cancellationToken);
        if (options.Cluster is ClusterLocation.AzureTable table) await TableMembership.RequireAsync(table, cancellationToken);
        if (options.PrimaryPort is { } primary)
            await Loopback.RequireListenerAsync(new IPEndPoint(options.Listen, primary), JoinPatience, cancellationToken);
    }

    // On localhost the membership is in a silo, and is asked when this one has joined.
    private static async Task RequireNoCloneAsync(IHost host, SiloOptions options, CancellationToken cancellationToken)
    {
        if (options.Cluster is ClusterLocation.Localhost) return;
        string? line;
        try
        {
            line = await host.Services.GetRequiredService<CloneWatch>().FindAsync(cancellationToken);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            throw new ClusterUnavailableException($"the membership of cluster {options.ClusterId} at {options.Cluster} cannot be used: "
                + e.Message.Split('\n', 2)[0].TrimEnd(), e);
        }

        if (line is not null) throw new ClusterUnavailableException(line);
    }

    // What listens where a first silo is expected need not be one, and what the membership names may never answer: then joining never ends.
    private static async Task StartAsync(IHost host, SiloOptions options, CancellationToken cancellationToken)
    {
        var refusals = host.Services.GetService<TlsRefusals>();
        var ending = host.Services.GetRequiredService<SiloEnding>().Reason;
        try
        {
            var starting = host.StartAsync(cancellationToken);
            if (await Task.WhenAny(starting, ending).WaitAsync(StartPatience, cancellationToken) == ending)
                throw new ClusterUnavailableException(await ending);
            await starting;
        }
        catch (Exception e) when (e is not (OperationCanceledException or ClusterUnavailableException) && refusals?.Last is { } refusal)
        {
            throw new EnvironmentException($"silo {options.Name} could not join the cluster {options.ClusterId}: {refusal}", e);
        }
        catch (TimeoutException) when (options.PrimaryPort is { } primary)
        {
            throw Loopback.NoSilo(new IPEndPoint(options.Listen, primary));
        }
        catch (TimeoutException e)
        {
            throw new EnvironmentException($"silo {options.Name} could not join the cluster {options.ClusterId} at {options.Cluster} "
                + $"within {StartPatience.TotalSeconds:F0} s: a member that the membership names does not answer", e);
        }
    }
}
