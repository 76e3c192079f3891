using Azure;
using Azure.Core;
using Azure.Identity;
using Azure.Storage.Blobs;
using FedRLora.Abstractions;

namespace FedRLora.Silo.Storage;

/// <summary>What opens a container, in this order: a connection string, a shared access signature, the identity of this machine.</summary>
/// <param name="Description">How an error names them; holds no secret.</param>
/// <param name="Open">Makes the container's client.</param>
internal sealed record StoreCredentials(string Description, Func<BlobClientOptions, BlobContainerClient> Open)
{
    /// <exception cref="BadInputException">
    /// A variable's value is malformed, for another account, or there is none where one is needed.
    /// </exception>
    public static StoreCredentials Find(StoreRole role, ContainerUrl url, Func<string, string?> environment)
    {
        var container = new Uri($"{url.Account}/{url.Container}");
        if (Value(role.ConnectionStringVariable) is { } connection)
        {
            CheckAccount(role, url, connection);
            return new($"the connection string in {role.ConnectionStringVariable}",
                options => new BlobContainerClient(connection, url.Container, options));
        }

        if (Value(role.SasVariable) is { } sas && url.Sas is null)
        {
            if (!ContainerUrl.IsSas(sas))
                throw new BadInputException($"{role.SasVariable}: not a shared access signature; it should contain sig=.");
            return new($"the shared access signature in {role.SasVariable}", Signed(sas));
        }

        if (url.Sas is not null) return new($"the shared access signature of {role.Option}", Signed(url.Sas));
        if (!url.IsEncrypted)
            throw new BadInputException(
                $"{role.Option}: {url.Name} needs credentials; set {role.ConnectionStringVariable} or {role.SasVariable}.");
        return new("this machine's identity (workload identity, managed identity, "
            + "the AZURE_* variables or az login) and its role Storage Blob Data Contributor",
            options => new BlobContainerClient(container, Identity(), options));

        string? Value(string variable) => environment(variable) is { } value && !string.IsNullOrWhiteSpace(value) ? value.Trim() : null;
        Func<BlobClientOptions, BlobContainerClient> Signed(string signature) =>
            options => new BlobContainerClient(container, new AzureSasCredential(signature.TrimStart('?')), options);
    }

    // The ways of services and of az login; those of editors and browsers would only delay a refusal.
    public static DefaultAzureCredential Identity() => new(new DefaultAzureCredentialOptions
    {
        ExcludeVisualStudioCredential = true, ExcludeVisualStudioCodeCredential = true, ExcludeAzurePowerShellCredential = true,
        ExcludeAzureDeveloperCliCredential = true, ExcludeInteractiveBrowserCredential = true, ExcludeBrokerCredential = true,
    });

    private static void CheckAccount(StoreRole role, ContainerUrl url, string connection)
    {
        string account;
        try
        {
            account = new BlobServiceClient(connection).Uri.GetLeftPart(UriPartial.Path).TrimEnd('/');
        }
        catch (Exception e) when (e is FormatException or ArgumentException or InvalidOperationException)
        {
            throw new BadInputException($"{role.ConnectionStringVariable}: not a connection string; "
                + "it has the form DefaultEndpointsProtocol=https;AccountName=...;AccountKey=....");
        }

        if (!account.Equals(url.Account, StringComparison.OrdinalIgnoreCase))
            throw new BadInputException(
                $"{role.ConnectionStringVariable} is for {account}, but {role.Option} names {url.Account}; give both the same account.");
    }
}
