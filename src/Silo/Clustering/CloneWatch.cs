using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using FedRLora.Grains;
using FedRLora.Pki;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Orleans;
using Orleans.Runtime;

namespace FedRLora.Silo.Clustering;

/// <summary>
/// Keeps two silos of one name from serving, as two machines do of which one was copied from the other. A silo that starts looks for one
/// that is there; of two that start at once the younger ends. A silo that was killed does not answer, so that its successor is no clone.
/// </summary>
public sealed class CloneWatch(
    SiloIdentity identity, ILocalSiloDetails self, IServiceProvider services, SiloEnding ending, TimeProvider time,
    IHostApplicationLifetime lifetime) : BackgroundService
{
    private static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);
    private readonly TlsIdentity? _tls = services.GetService<TlsIdentity>();

    /// <summary>Why this silo must not start, in one line; null where it may. Asks a membership that is kept outside.</summary>
    public async Task<string?> FindAsync(CancellationToken cancellationToken)
    {
        var table = services.GetRequiredService<IMembershipTable>();
        await table.InitializeMembershipTableAsync(true, cancellationToken);
        var rows = (await table.ReadAllAsync(cancellationToken)).Members.Select(static row => row.Item1)
            .Where(static row => row.Status is SiloStatus.Joining or SiloStatus.Active or SiloStatus.ShuttingDown or SiloStatus.Stopping)
            .Select(static row => new ClusterMember(row.SiloAddress, row.Status, row.SiloName));
        // of those that start at the same moment, which have not joined yet, the watch keeps one
        // This process does not listen yet: whoever answers at its address is another one, as where the name of it was copied too.
        return await AnswersAsync(rows.Where(static row => row.Status == SiloStatus.Active), listens: false, cancellationToken) is { } first
            ? LineFor(first) : null;
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var started = new TaskCompletionSource();
        using var registration = lifetime.ApplicationStarted.Register(started.SetResult);
        await started.Task.WaitAsync(stoppingToken);
        using var timer = new PeriodicTimer(LookEvery, time);
        do
        {
            var elder = services.GetRequiredService<IClusterMembershipService>().CurrentSnapshot.Members.Values
                .Where(member => member.Status == SiloStatus.Active && IsElder(member.SiloAddress));
            if (await AnswersAsync(elder, listens: true, stoppingToken) is not { } first) continue;
            ending.End(LineFor(first));
            return;
        }
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    private bool IsElder(SiloAddress other) => other.Generation != self.SiloAddress.Generation
        ? other.Generation < self.SiloAddress.Generation
        : other.CompareTo(self.SiloAddress) < 0;

    private async Task<SiloAddress?> AnswersAsync(
        IEnumerable<ClusterMember> members, bool listens, CancellationToken cancellationToken)
    {
        var known = members.ToList();
        foreach (var member in known)
        {
            var silo = member.SiloAddress;
            if (SiloIdentity.NameOf(member.Name) != identity.Name || (listens && silo.Endpoint.Equals(self.SiloAddress.Endpoint))) continue;
            // what answers there now is another silo, which was started where that one was
            if (known.Select(static other => other.SiloAddress)
                .Any(other => other.Endpoint.Equals(silo.Endpoint) && other.Generation > silo.Generation)) continue;
            if (await AnswersAsync(silo.Endpoint, SiloIdentity.SitesOf(member.Name).Split(',')[0], cancellationToken)) return silo;
        }

        return null;
    }

    // With TLS it has to show a certificate of its site: a row alone keeps nobody out.
    private async Task<bool> AnswersAsync(IPEndPoint place, string site, CancellationToken cancellationToken)
    {
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        enough.CancelAfter(Patience);
        try
        {
            using var client = new TcpClient(place.AddressFamily);
            await client.ConnectAsync(place, enough.Token);
            if (_tls is null) return true;
            await using var stream = new SslStream(client.GetStream());
            await stream.AuthenticateAsClientAsync(new SslClientAuthenticationOptions
            {
                TargetHost = SanNames.OfSite(site, _tls.Domain), CertificateChainPolicy = _tls.Policy(CertificateUse.Server),
                LocalCertificateSelectionCallback = (_, _, _, _, _) => _tls.Current.Certificate, AllowTlsResume = false,
                EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
            }, enough.Token);
            return true;
        }
        catch (Exception e) when (e is SocketException or IOException or AuthenticationException)
        {
            return false;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return false;
        }
    }

    private string LineFor(SiloAddress first) => $"silo {identity.Name} ends: a silo of this name serves at {first.Endpoint} already, and "
        + "two machines with one name are one that was copied: stop one of the two, or give this one another --name";
}
