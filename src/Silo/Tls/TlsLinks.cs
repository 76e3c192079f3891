using System.Collections.Concurrent;
using System.Net;
using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Pki;
using Microsoft.AspNetCore.Connections;
using Orleans.Connections.Security;
using Orleans.Runtime;

namespace FedRLora.Silo.Tls;

/// <summary>
/// What happens around a handshake: the certificate is judged in it, the silo behind it after it, and the connection is remembered for
/// as long as it is open.
/// </summary>
internal sealed class TlsLinks(
    TlsIdentity identity, SiteBinding binding, OpenConnections open, TlsRefusals refusals, TlsSettings settings, TimeProvider time)
{
    private static readonly TimeSpan AtOnce = TimeSpan.FromSeconds(2);

    // Orleans judges certificates in a function that does not know the connection; it runs in the flow that began with it.
    private readonly AsyncLocal<Handshake?> _current = new();
    private readonly ConcurrentDictionary<Link, byte> _links = [];
    private readonly ConcurrentQueue<SiloAddress> _denied = [];

    /// <summary>The options of Orleans' handshake.</summary>
    public TlsOptions Options(LinkKind kind)
    {
        var options = new TlsOptions
        {
            // functions and not certificates, which would be those of the start for ever
            LocalServerCertificateSelector = (_, _) => identity.Current.Certificate,
            LocalClientCertificateSelector = (_, _, _, _, _) => identity.Current.Certificate,
            RemoteCertificateMode = RemoteCertificateMode.RequireCertificate,
            ClientCertificateMode = RemoteCertificateMode.AllowCertificate, // about a certificate given beside the functions
            RemoteCertificateValidation = (certificate, chain, errors) => Accepts(kind, certificate, chain, errors),
            SslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
            HandshakeTimeout = settings.HandshakeTimeout,
        };
        options.OnAuthenticateAsServer = (_, orleans) =>
        {
            var server = (SslServerAuthenticationOptions)orleans.SslServerAuthenticationOptions;
            (server.ServerCertificateContext, server.ServerCertificateSelectionCallback) = (identity.Chain, null);
            server.CertificateChainPolicy = identity.Policy(CertificateUse.Client);
            server.AllowTlsResume = false; // a resumed session is not judged again
        };
        options.OnAuthenticateAsClient = (context, orleans) =>
        {
            orleans.TargetHost = binding.TargetHost(context.RemoteEndPoint);
            var client = (SslClientAuthenticationOptions)orleans.SslClientAuthenticationOptions;
            (client.ClientCertificateContext, client.LocalCertificateSelectionCallback) = (identity.Chain, null);
            client.CertificateChainPolicy = identity.Policy(CertificateUse.Server);
            client.AllowTlsResume = false;
        };
        return options;
    }

    /// <summary>Around the handshake: says why there was none.</summary>
    public async Task OutsideAsync(LinkKind kind, ConnectionContext context, ConnectionDelegate next)
    {
        if (kind != LinkKind.SiloOutbound && !await SpeaksAsync(context)) return;
        var handshake = new Handshake(context.RemoteEndPoint);
        _current.Value = handshake;
        try
        {
            await next(context);
        }
        finally
        {
            if (!handshake.IsDone)
            {
                if (handshake.Refusal is { } refusal) refusals.Refused(kind, handshake.Peer, refusal);
                else if (kind == LinkKind.SiloOutbound) refusals.EndedByPeer(handshake.Peer, "there was no handshake");
                else refusals.Refused(kind, handshake.Peer, "it ended the handshake, showed no certificate, or speaks no TLS 1.2 or 1.3");
            }
        }
    }

    /// <summary>After the handshake: lets a silo in that is who it says.</summary>
    public async Task InsideAsync(LinkKind kind, ConnectionContext context, ConnectionDelegate next)
    {
        if (_current.Value is not { } handshake || context.Features.Get<ITlsConnectionFeature>()?.RemoteCertificate is not { } shown)
        {
            context.Abort(new ConnectionAbortedException("A connection without a certificate."));
            return;
        }

        handshake.IsDone = true;
        var certificate = X509CertificateLoader.LoadCertificate(shown.RawData); // the connection's own ends with it
        var (silo, refusal) = await ClaimAsync(kind, context, certificate);
        if (refusal is not null)
        {
            refusals.Refused(kind, context.RemoteEndPoint, refusal);
            context.Abort(new ConnectionAbortedException(refusal));
            return;
        }

        if (silo is null && kind == LinkKind.SiloInbound) return; // it went away without a word
        var link = new Link(kind, context, silo, certificate);
        _links[link] = 0;
        using var entry = open.Add(certificate, handshake.Sent, UseOf(kind), NameOf(link), () => Close(link));
        var began = time.GetTimestamp();
        try
        {
            await next(context);
        }
        catch (Exception e) when (kind == LinkKind.SiloOutbound && !link.IsClosed && time.GetElapsedTime(began) < AtOnce)
        {
            // with TLS 1.3 a client learns with its first read that it was refused
            refusals.EndedByPeer(context.RemoteEndPoint, e.GetBaseException().Message.Split('\n', 2)[0].TrimEnd());
            throw;
        }
        finally
        {
            _links.TryRemove(link, out _);
        }
    }

    /// <summary>Closes connections to silos that the membership calls otherwise by now than their certificates allow.</summary>
    public int CloseUnbound()
    {
        var closed = 0;
        foreach (var (link, _) in _links)
        {
            if (!Binds(link.Kind) || link.IsClosed) continue;
            var place = link.Context.RemoteEndPoint;
            var row = link.Silo is { } silo ? binding.Known(silo) : binding.NameAt(place);
            if (row is null || binding.Refusal(row, link.Certificate, place) is not { } refusal) continue;
            refusals.Refused(link.Kind, place, refusal);
            Close(link);
            closed++;
        }

        return closed;
    }

    /// <summary>Takes the silos whose connections were closed because their certificate is on the deny-list.</summary>
    public IReadOnlyList<SiloAddress> TakeDenied()
    {
        List<SiloAddress> taken = [];
        while (_denied.TryDequeue(out var silo)) taken.Add(silo);
        return taken;
    }

    // The first byte: who looks whether a port is open, and says nothing, is no peer.
    private async Task<bool> SpeaksAsync(ConnectionContext context)
    {
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(context.ConnectionClosed);
        enough.CancelAfter(settings.HandshakeTimeout);
        try
        {
            var read = await context.Transport.Input.ReadAsync(enough.Token);
            var speaks = !read.Buffer.IsEmpty;
            context.Transport.Input.AdvanceTo(read.Buffer.Start);
            return speaks;
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or ConnectionAbortedException)
        {
            context.Abort(new ConnectionAbortedException("Nothing was said."));
            return false;
        }
    }

    private bool Accepts(LinkKind kind, X509Certificate2 certificate, X509Chain? chain, SslPolicyErrors errors)
    {
        if (_current.Value is not { } handshake) return false;
        var binds = Binds(kind);
        var sent = chain?.ChainPolicy.ExtraStore ?? [];
        handshake.Refusal = identity.Refusal(certificate, sent, UseOf(kind)) is { } refusal
            ? $"its certificate is refused: {refusal}"
            : SanNames.Of(certificate, identity.Domain).Sites.Count == 0
                ? $"its certificate is of no site (no name of the form NAME.sites.{identity.Domain})"
                : kind == LinkKind.SiloOutbound && binds
                    ? binding.Refusal(binding.NameAt(handshake.Peer), certificate, handshake.Peer)
                    : null;
        // What the name of the target says beside that was said with the row, and there is none where the row is not known yet.
        if (!binds || kind != LinkKind.SiloOutbound || binding.NameAt(handshake.Peer) is null)
            errors &= ~SslPolicyErrors.RemoteCertificateNameMismatch;
        if (handshake.Refusal is null) handshake.Sent = SentChain.Of(sent);
        if (handshake.Refusal is null && errors != SslPolicyErrors.None) handshake.Refusal = $"its certificate is refused: {errors}";
        return handshake.Refusal is null;
    }

    private async Task<(SiloAddress? Silo, string? Refusal)> ClaimAsync(
        LinkKind kind, ConnectionContext context, X509Certificate2 certificate)
    {
        if (kind == LinkKind.Gateway) return (null, null);
        if (kind == LinkKind.SiloOutbound) return (binding.MemberAt(context.RemoteEndPoint)?.SiloAddress, null); // judged in the handshake
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(context.ConnectionClosed);
        enough.CancelAfter(settings.HandshakeTimeout);
        try
        {
            if (await binding.PeekAsync(context.Transport.Input, enough.Token) is not { } silo) return (null, null);
            return (silo, settings.BindsInbound
                ? binding.Refusal(await binding.NameOfAsync(silo, enough.Token), certificate, context.RemoteEndPoint)
                : null);
        }
        catch (Exception e) when (!context.ConnectionClosed.IsCancellationRequested)
        {
            return (null, e is OperationCanceledException ? "it did not say which silo it is" : e.Message);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or ConnectionAbortedException)
        {
            return (null, null);
        }
    }

    private void Close(Link link)
    {
        link.IsClosed = true;
        if (link.Silo is { } silo && identity.IsDenied(link.Certificate)) _denied.Enqueue(silo);
        link.Context.Abort(new ConnectionAbortedException("The certificate of the peer does not count any more."));
    }

    private bool Binds(LinkKind kind) => kind switch
    {
        LinkKind.SiloInbound => settings.BindsInbound,
        LinkKind.SiloOutbound => settings.BindsOutbound,
        _ => false,
    };

    private static CertificateUse UseOf(LinkKind kind) => kind == LinkKind.SiloOutbound ? CertificateUse.Server : CertificateUse.Client;

    private static string NameOf(Link link) => link.Kind switch
    {
        LinkKind.SiloInbound => $"silo connection from {link.Silo?.Endpoint}",
        LinkKind.SiloOutbound => $"silo connection to {link.Context.RemoteEndPoint}",
        _ => $"gateway connection from {link.Context.RemoteEndPoint}",
    };

    private sealed class Handshake(EndPoint? peer)
    {
        public EndPoint? Peer => peer;

        public string? Refusal { get; set; }

        public SentChain Sent { get; set; } = SentChain.Nothing;

        public bool IsDone { get; set; }
    }

    private sealed class Link(LinkKind kind, ConnectionContext context, SiloAddress? silo, X509Certificate2 certificate)
    {
        public LinkKind Kind => kind;

        public ConnectionContext Context => context;

        public SiloAddress? Silo => silo;

        public X509Certificate2 Certificate => certificate;

        public bool IsClosed { get; set; }
    }
}
