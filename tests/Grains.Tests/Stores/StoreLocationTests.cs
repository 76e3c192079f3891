using FedRLora.Abstractions;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests.Stores;

public sealed class StoreLocationTests
{
    private const string Secret = "c2VjcmV0";
    private const string Connection =
        $"DefaultEndpointsProtocol=https;AccountName=north;AccountKey={Secret};EndpointSuffix=core.windows.net";

    [Theory]
    [InlineData("runs/cluster")]
    [InlineData("./runs")]
    [InlineData("/srv/a b/ü")]
    public void What_is_no_URL_is_a_folder(string folder)
    {
        var location = Parse(folder, ("FEDRLORA_STORE_CONNECTION_STRING", "of no use here"));

        Assert.Equal((true, Path.GetFullPath(folder)), (location.IsFolder, location.Name));
    }

    [Theory]
    [InlineData("https://north.blob.core.windows.net/runs")]
    [InlineData("https://north.blob.core.windows.net/runs/a/b")]
    public void A_container_needs_no_more_than_its_URL(string url)
    {
        Assert.Equal((false, url), (Parse(url).IsFolder, Parse(url + "/").Name));
        Assert.IsType<AzureBlobStore>(Parse(url).Open());
    }

    [Fact]
    public void A_location_that_is_shown_holds_no_signature()
    {
        var location = Parse($"https://north.blob.core.windows.net/runs/a?sv=2024-01-01&sig={Secret}");

        Assert.Equal("https://north.blob.core.windows.net/runs/a", location.Name);
        Assert.Equal(location.Name, $"{location}");
    }

    [Fact]
    public void A_connection_string_goes_before_a_signature() =>
        Assert.IsType<AzureBlobStore>(
            Parse($"https://north.blob.core.windows.net/runs?sig={Secret}", ("FEDRLORA_STORE_CONNECTION_STRING", Connection)).Open());

    [Fact]
    public void A_site_has_variables_of_its_own()
    {
        var url = "https://north.blob.core.windows.net/runs";
        string? Environment(string name) => name == "FEDRLORA_STORE_SAS" ? "no signature" : null;

        Assert.Throws<BadInputException>(() => StoreLocation.Parse(StoreRole.Job, url, Environment));
        Assert.Equal(url, StoreLocation.Parse(StoreRole.Site, url, Environment).Name);
    }

    [Theory]
    [InlineData("", "the location is empty")]
    [InlineData("s3://bucket/runs", "is not a location")]
    [InlineData("https://", "is not a location")]
    [InlineData("http://north.blob.core.windows.net/runs", "would be sent in the clear; use https")]
    [InlineData("http://127.0.0.1.example.org/north/runs", "would be sent in the clear; use https")]
    [InlineData("https://north.blob.core.windows.net", "names no container")]
    [InlineData("https://north.blob.core.windows.net/", "names no container")]
    [InlineData("http://127.0.0.1:10000/devstoreaccount1", "use http://127.0.0.1:PORT/ACCOUNT/CONTAINER")]
    [InlineData("https://north.blob.core.windows.net/Runs", "small letters")]
    [InlineData("https://north.blob.core.windows.net/ru", "3 to 63")]
    [InlineData("https://north.blob.core.windows.net/a--b", "single dashes")]
    [InlineData("https://north.blob.core.windows.net/runs/.hidden", "has a prefix that is none")]
    [InlineData("https://north.blob.core.windows.net/runs/a%2Fb", "has a prefix that is none")]
    [InlineData("https://north.blob.core.windows.net/runs#a", "has a fragment")]
    [InlineData("https://north.blob.core.windows.net/runs?a=b", "it should contain sig=")]
    [InlineData("https://user:c2VjcmV0@north.blob.core.windows.net/runs", "carries a user name")]
    [InlineData("http://127.0.0.1:10000/devstoreaccount1/runs",
        "needs credentials; set FEDRLORA_STORE_CONNECTION_STRING or FEDRLORA_STORE_SAS")]
    public void A_location_that_is_none_is_refused_in_one_line(string location, string expected)
    {
        var refused = Assert.Throws<BadInputException>(() => Parse(location));

        Assert.StartsWith("--store: ", refused.Message, StringComparison.Ordinal);
        Assert.Contains(expected, refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', refused.Message);
        Assert.DoesNotContain(Secret, refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("FEDRLORA_STORE_CONNECTION_STRING", $"nonsense {Secret}", "not a connection string")]
    [InlineData("FEDRLORA_STORE_CONNECTION_STRING", Connection,
        "is for https://north.blob.core.windows.net, but --store names https://south.blob.core.windows.net")]
    [InlineData("FEDRLORA_STORE_SAS", Secret, "not a shared access signature")]
    public void Credentials_that_cannot_fit_are_refused_without_being_shown(string variable, string value, string expected)
    {
        var refused = Assert.Throws<BadInputException>(() => Parse("https://south.blob.core.windows.net/runs", (variable, value)));

        Assert.StartsWith(variable, refused.Message, StringComparison.Ordinal);
        Assert.Contains(expected, refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(Secret, refused.ToString(), StringComparison.Ordinal);
    }

    private static StoreLocation Parse(string location, (string Variable, string Value)? set = null) =>
        StoreLocation.Parse(StoreRole.Job, location, variable => variable == set?.Variable ? set?.Value : null);
}
