using System.Diagnostics;
using Azure.Storage.Blobs;
using Azure.Storage.Sas;
using FedRLora.Abstractions.Ports;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests.Stores;

[Collection(AzuriteCollection.Name)]
public sealed class AzureCredentialTests(AzuriteServer azurite)
{
    private const BlobContainerSasPermissions Everything =
        BlobContainerSasPermissions.Read | BlobContainerSasPermissions.Write | BlobContainerSasPermissions.Create
        | BlobContainerSasPermissions.List | BlobContainerSasPermissions.Delete;

    [AzuriteFact]
    public async Task A_signature_opens_its_container_from_the_URL_and_from_the_environment()
    {
        var container = await NewContainerAsync();
        var sas = azurite.SasOf(container, Everything);
        var url = $"{azurite.Endpoint}/{container}/north";

        var fromUrl = StoreLocation.Parse(StoreRole.Job, $"{url}?{sas}", static _ => null);
        var fromEnvironment = StoreLocation.Parse(StoreRole.Site, url,
            variable => variable == "FEDRLORA_SITE_STORE_SAS" ? "?" + sas : null);

        Assert.Equal((url, url), (fromUrl.Name, $"{fromEnvironment}"));
        await fromUrl.Open().WriteAsync("a/b", "hello", WriteCondition.Absent);
        Assert.Equal("hello", await fromEnvironment.Open().ReadAsync("a/b"));
        Assert.Equal(["a/b"], await fromEnvironment.Open().ListAsync("").ToArrayAsync());
        await fromEnvironment.Open().DeleteAllAsync("a/");
        Assert.Null(await fromUrl.Open().OpenAsync("a/b"));
    }

    [AzuriteFact]
    public async Task What_a_signature_does_not_allow_is_refused_at_once_and_no_message_holds_the_signature()
    {
        var container = await NewContainerAsync();
        var readOnly = azurite.SasOf(container, BlobContainerSasPermissions.Read);
        var forged = azurite.SasOf(container, Everything).Replace("sig=", "sig=AAAA", StringComparison.Ordinal);
        foreach (var sas in new[] { readOnly, forged })
        {
            var location = StoreLocation.Parse(StoreRole.Job, $"{azurite.Endpoint}/{container}?{sas}", static _ => null);
            var since = Stopwatch.GetTimestamp();

            var refused = await Assert.ThrowsAsync<StoreUnavailableException>(
                () => location.Open().WriteAsync("a", "a", WriteCondition.Any));

            Assert.True(Stopwatch.GetElapsedTime(since) < TimeSpan.FromMinutes(1));
            Assert.Contains($"{azurite.Endpoint}/{container}", refused.Message, StringComparison.Ordinal);
            Assert.Contains("403", refused.Message, StringComparison.Ordinal);
            Assert.Contains("check the shared access signature of --store", refused.Message, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', refused.Message);
            Assert.DoesNotContain(Uri.UnescapeDataString(sas.Split("sig=")[1].Split('&')[0]), Uri.UnescapeDataString(refused.ToString()),
                StringComparison.Ordinal);
        }
    }

    [AzuriteFact]
    public async Task A_container_that_is_missing_and_may_not_be_made_is_named()
    {
        var sas = azurite.SasOf("nobody-made-this", Everything);
        var store = StoreLocation.Parse(StoreRole.Job, $"{azurite.Endpoint}/nobody-made-this?{sas}", static _ => null).Open();

        var refused = await Assert.ThrowsAsync<StoreUnavailableException>(() => store.WriteAsync("a", "a", WriteCondition.Any));

        Assert.Contains("nobody-made-this: the container is not there", refused.Message, StringComparison.Ordinal);
    }

    [AzuriteFact]
    public async Task A_connection_string_with_another_key_is_refused_and_the_key_is_in_no_message()
    {
        var key = Convert.ToBase64String(StoreContent.Bytes(64, seed: 1));
        var location = StoreLocation.Parse(StoreRole.Job, $"{azurite.Endpoint}/container",
            _ => azurite.ConnectionString.Replace(AzuriteServer.AccountKey, key, StringComparison.Ordinal));

        var refused = await Assert.ThrowsAsync<StoreUnavailableException>(() => location.Open().OpenAsync("a"));

        Assert.Contains("check the connection string in FEDRLORA_STORE_CONNECTION_STRING", refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(key, refused.ToString(), StringComparison.Ordinal);
    }

    private async Task<string> NewContainerAsync()
    {
        var container = $"c{Guid.NewGuid():n}";
        await new BlobContainerClient(azurite.ConnectionString, container).CreateAsync();
        return container;
    }
}
